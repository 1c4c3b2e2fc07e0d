"""Where a server listens: sockets of the file system, TLS, and what it believes of proxies."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.app import create_app
from service.listening import ListenError, open_socket
from service.served_model import ServedModel
from service.server import Server
from service.settings import Settings


@asynccontextmanager
async def listening(server: Server, settings: Settings) -> AsyncIterator[str]:
    """The server, on a socket that was taken before; its announced address."""
    task = asyncio.create_task(server.serve([open_socket(settings)]))
    while not server.started:
        await asyncio.sleep(0.01)
    await server.context.lifecycle.wait_started()
    yield server._address()
    server.should_exit = True
    await asyncio.wait_for(task, 20)


def server_of(model: ServedModel, settings: Settings) -> Server:
    app = create_app(settings, [model])
    return Server(app, app.state.context)


def test_a_free_port_takes_connections_at_once() -> None:
    with open_socket(Settings(port=0)) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with socket.create_connection((host, port), timeout=5):
            connection, _ = listener.accept()
            connection.close()


def test_a_port_in_use_is_told_with_its_address() -> None:
    with open_socket(Settings(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ListenError, match=rf"cannot listen on 127.0.0.1, port {port}: .*in use"
        ):
            open_socket(Settings(port=port))


def test_a_port_that_was_just_used_can_be_taken_again() -> None:
    """A connection that the server closed lingers for a minute; a restart must not wait for it."""
    with open_socket(Settings(port=0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            connection, _ = listener.accept()
            connection.close()
            assert client.recv(1) == b""
    open_socket(Settings(port=port)).close()


def test_a_host_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ListenError, match=r"cannot listen on nowhere\.invalid: Name or service"):
        open_socket(Settings(host="nowhere.invalid"))


async def test_a_socket_of_the_file_system(served: ServedModel, tmp_path: Path) -> None:
    path = tmp_path / "lstm.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # left by a server that ended badly: nobody answers
    settings = Settings(unix_socket=path)
    async with listening(server_of(served, settings), settings) as address:
        assert address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o660
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://any.name") as client:
            assert (await client.get("/health/ready")).status_code == 200
        with pytest.raises(ListenError, match="another server does"):
            open_socket(settings)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(ListenError):
        open_socket(Settings(unix_socket=path))
    assert path.read_text() == "mine"


def test_an_address_that_is_not_here_is_told() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on 192\.0\.2\.1"):
        open_socket(Settings(host="192.0.2.1", port=0))


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the options are Linux's")
def test_the_kernel_ends_connections_whose_other_side_is_gone() -> None:
    """No test can pull a cable: what was accepted has the options that make the kernel do it."""
    options = {"TCP_USER_TIMEOUT": 30_000, "TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
    with (
        open_socket(Settings(port=0, write_timeout_s=30)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            for name, value in options.items():
                assert accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, its key), of 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


async def test_tls(served: ServedModel, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    settings = Settings(port=0, tls_certificate=chain, tls_key=key)
    async with listening(server_of(served, settings), settings) as address:
        assert address.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(chain))
        async with httpx.AsyncClient(verify=trusting, base_url=address) as client:
            answer = await client.post("/v1/score", json={"texts": ["a"]})
            assert answer.status_code == 200
        plain = address.replace("https:", "http:")
        async with httpx.AsyncClient(base_url=plain) as client:
            with pytest.raises(httpx.TransportError):
                await client.get("/health/live")


@pytest.mark.parametrize(
    ("trusted", "scheme"), [("127.0.0.1", "https"), ("10.0.0.1", "http"), ("*", "https")]
)
async def test_only_a_trusted_proxy_is_believed(
    served: ServedModel, trusted: str, scheme: str
) -> None:
    seen: list[Any] = []
    settings = Settings(port=0, trusted_proxies=trusted)
    app = create_app(settings, [served])

    async def spy(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            seen.append((scope["scheme"], scope["client"][0]))
        await app(scope, receive, send)

    server = Server(spy, app.state.context)
    headers = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.7"}
    async with (
        listening(server, settings) as address,
        httpx.AsyncClient(base_url=address, headers=headers) as client,
    ):
        assert (await client.get("/health/live")).status_code == 200
    assert seen == [(scheme, "203.0.113.7" if scheme == "https" else "127.0.0.1")]
