"""Clients that send too much, too slowly, or do not take what they asked for."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from service.served_model import ServedModel
from tests.service.engine.asking import until
from tests.service.test_server import serving

REQUEST = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /v1/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@asynccontextmanager
async def connected(
    client: httpx.AsyncClient,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    try:
        yield reader, writer
    finally:
        writer.close()


async def refusal(reader: asyncio.StreamReader, status: int) -> dict[str, Any]:
    """The error of an answer after which the server closes."""
    answer = await asyncio.wait_for(reader.read(), 10)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"connection: close" in head
    assert b"x-request-id: " in head
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_headers_are_bounded_while_they_arrive(served: ServedModel) -> None:
    """One endless header line once filled 900 MB, before any key was looked at."""
    async with serving(served, max_header_bytes=4096, api_keys="k") as (server, client):
        for part in (b"x-long: " + b"a" * 5000, b"".join(b"x-%d: a\r\n" % k for k in range(900))):
            async with connected(client) as (reader, writer):
                writer.write(REQUEST + part)
                assert (await refusal(reader, 431))["code"] == "headers_too_large"
        async with connected(client) as (reader, writer):
            writer.write(b"GET /" + b"a" * 5000)
            await refusal(reader, 431)
        headers = {"x-long": "a" * 3000}
        for _ in range(3):  # counted for each request of a connection
            response = await client.get("/health/live", headers=headers)
            assert response.status_code == 200
        assert server.server_state.connections


async def test_a_large_body_is_no_large_header(served: ServedModel) -> None:
    async with (
        serving(served, max_header_bytes=1024) as (_, client),
        connected(client) as (reader, writer),
    ):
        body = json.dumps({"texts": ["a " * 5000]}).encode()
        request = POST + b"content-length: %d\r\n\r\n" % len(body) + body
        writer.write(request + request)
        for _ in range(2):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(size))["object"] == "list"


async def test_slow_headers_are_not_waited_for(served: ServedModel) -> None:
    async with (
        serving(served, header_timeout_s=0.3) as (_, client),
        connected(client) as (silent, _),
        connected(client) as (slow, writer),
    ):
        sending = asyncio.create_task(trickle(writer, REQUEST + b"x: " + b"a" * 100))
        assert (await refusal(slow, 408))["code"] == "request_timeout"
        assert await asyncio.wait_for(silent.read(), 5) == b""
        sending.cancel()


async def trickle(writer: asyncio.StreamWriter, data: bytes) -> None:
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


async def test_a_stalled_body_is_not_waited_for(served: ServedModel) -> None:
    async with serving(served, body_timeout_s=0.3) as (server, client):
        async with connected(client) as (reader, writer):
            writer.write(POST + b'content-length: 100\r\n\r\n{"texts"')
            assert (await refusal(reader, 408))["code"] == "request_timeout"
        assert server.context.lifecycle.in_flight == 0


async def test_all_bodies_together_are_bounded(served: ServedModel) -> None:
    async with serving(served, max_body_memory_mb=1, body_timeout_s=5) as (_, client):
        async with connected(client) as (_, first), connected(client) as (reader, second):
            first.write(POST + b"content-length: 1000000\r\n\r\n" + b" " * 900_000)
            await asyncio.sleep(0.2)
            second.write(POST + b"content-length: 1000000\r\n\r\n" + b" " * 900_000)
            assert (await refusal(reader, 503))["code"] == "unavailable"
        await asyncio.sleep(0.1)
        response = await client.post("/tokenize", json={"prompt": "a " * 250_000})
        assert response.status_code == 200


async def test_connections_are_bounded(served: ServedModel) -> None:
    async with serving(served, max_connections=3) as (_, client):
        assert (await client.get("/health/live")).status_code == 200  # holds the first
        async with connected(client), connected(client):
            await asyncio.sleep(0.05)
            async with connected(client) as (reader, _):
                assert (await refusal(reader, 503))["code"] == "unavailable"
            assert (await client.get("/health/live")).status_code == 200
        await asyncio.sleep(0.05)
        async with connected(client) as (reader, writer):
            writer.write(REQUEST + b"\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")


async def test_a_client_that_reads_nothing_is_cut_off(served: ServedModel) -> None:
    async with serving(served, write_timeout_s=0.3) as (server, client):
        port = client.base_url.port
        assert port is not None
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            silent.connect(("127.0.0.1", port))
            asset = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
            silent.sendall(asset * 8)
            connections = server.server_state.connections
            await until(lambda: bool(connections))
            await until(lambda: not connections and not server.context.lifecycle.in_flight)


async def test_what_is_no_http_is_refused_in_the_form_of_errors(served: ServedModel) -> None:
    async with serving(served) as (_, client):
        for garbage in (b"nonsense\r\n\r\n", REQUEST + b"bad header\r\n\r\n", b"\0" * 100):
            async with connected(client) as (reader, writer):
                writer.write(garbage)
                assert (await refusal(reader, 400))["code"] == "invalid_http"


async def test_clients_of_http_1_0_get_no_chunks(served: ServedModel) -> None:
    """A stream ends with its connection; an answer of known length has that."""
    body = b'{"prompt": "a", "max_tokens": 3, "ignore_eos": true, "stream": true}'
    head = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with serving(served) as (_, client):
        async with connected(client) as (reader, writer):
            writer.write(b"POST /v1/completions HTTP/1.0\r\nhost: localhost\r\n" + head + body)
            told, _, events = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200")
        assert b"transfer-encoding" not in told.lower()
        assert events.startswith(b"data: {")
        assert events.endswith(b"data: [DONE]\n\n")
        async with connected(client) as (reader, writer):
            writer.write(b"GET /health/live HTTP/1.0\r\nhost: localhost\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 10)
        assert b"content-length: 15" in answer
        assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("length", [b"99999999999999999999", b"17000000"])
async def test_an_announced_size_is_believed(served: ServedModel, length: bytes) -> None:
    async with serving(served) as (_, client), connected(client) as (reader, writer):
        writer.write(POST + b"content-length: " + length + b"\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))
