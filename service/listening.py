"""Where the service listens, taken before anything is loaded: a port in use is told at once."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from service.settings import Settings


class ListenError(RuntimeError):
    """The address cannot be listened on; the message says why."""


def open_socket(settings: Settings) -> socket.socket:
    """A listening socket for the settings' address. Raises ListenError."""
    if settings.unix_socket is not None:
        return _unix_socket(settings.unix_socket, settings.max_connections)
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _end_half_open(listener, settings.write_timeout_s)
        listener.bind(address)
        listener.listen(settings.max_connections)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return listener


def _end_half_open(listener: socket.socket, timeout_s: float) -> None:
    """Let the kernel end connections whose other side is gone without a word (no power, no route).

    What is accepted inherits it. A stream's bytes wait to be acknowledged for `timeout_s`; a silent
    connection is asked for a sign of life.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", max(1, round(timeout_s / 2))),
        ("TCP_KEEPINTVL", max(1, round(timeout_s / 6))),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", max(1, round(1000 * timeout_s))),
    ):
        if hasattr(socket, name):  # systems differ in these
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _unix_socket(path: Path, backlog: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _remove_stale(path)
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(backlog)
    except ListenError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _remove_stale(path: Path) -> None:
    """A socket that nobody answers was left by a server that ended badly."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise ListenError(f"cannot listen on {path}: another server does")
