"""One client's connection: its bounds in bytes and in time, before any request reaches a route.

uvicorn's protocol over httptools bounds neither headers nor how long they, or an unread answer, may
take. What is refused here has the contract's form of error, too.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from service.http.errors import ApiError, unavailable
from service.settings import Settings

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable

_LINGER_S = 1.0


@dataclass(frozen=True, kw_only=True)
class ConnectionLimits:
    """max_connections: open at a time; header_timeout_s: from a connection's or a request's first
    moment to the end of its headers; write_timeout_s: for a client to take anything of an answer.
    """

    max_connections: int
    max_header_bytes: int
    header_timeout_s: float
    write_timeout_s: float

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimits:
        return cls(
            max_connections=settings.max_connections,
            max_header_bytes=settings.max_header_bytes,
            header_timeout_s=settings.header_timeout_s,
            write_timeout_s=settings.write_timeout_s,
        )


def _unchunked(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """For clients that know no chunks (HTTP/1.0): an answer of unknown length ends with the
    connection. uvicorn would put it into chunks all the same (RFC 9112, 6.1, forbids it).
    """

    async def answered(scope: Any, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        is_sized = True

        async def send_plain(message: Any) -> None:
            nonlocal is_sized
            if message["type"] == "http.response.start":
                is_sized = any(name.lower() == b"content-length" for name, _ in message["headers"])
                if not is_sized:
                    cycle.chunked_encoding = False
            elif not is_sized:
                cycle.expected_content_length += len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return answered


class BoundedConnection(HttpToolsProtocol):
    """uvicorn's protocol within limits."""

    def __init__(self, *args: Any, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._in_headers, self._num_header_bytes, self._is_refused = True, 0, False
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(
                unavailable(
                    f"{self._limits.max_connections} connections are open, which is the limit"
                )
            )
            return
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_header_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, headers never beyond their limit."""
        limit = self._limits.max_header_bytes
        while data and not self._is_refused and not self.transport.is_closing():
            piece = data[: limit - self._num_header_bytes] if self._in_headers else data
            if not piece:
                self._refuse(
                    ApiError(
                        431,
                        f"the request line and headers are larger than the limit of {limit} bytes",
                        code="headers_too_large",
                    )
                )
                return
            if self._in_headers:
                self._num_header_bytes += len(piece)
                self._start_header_timer()
            super().data_received(piece)
            data = data[len(piece) :]

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._stop_header_timer()
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = _unchunked(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        self._in_headers, self._num_header_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        self._refuse(ApiError(400, "this is no valid HTTP request", code="invalid_http"))

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(
                self._limits.write_timeout_s, self.transport.abort
            )

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def _start_header_timer(self) -> None:
        """Unless it runs: a client that sends a byte now and then gains nothing."""
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(
                self._limits.header_timeout_s, self._on_header_timeout
            )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _on_header_timeout(self) -> None:
        self._header_timer = None
        if self._num_header_bytes:
            seconds = self._limits.header_timeout_s
            self._refuse(
                ApiError(
                    408, f"the headers did not arrive within {seconds:g} s", code="request_timeout"
                )
            )
        else:  # nothing was asked: nothing is answered
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answer and close, reading on for a moment: what arrives at a closed connection resets
        it, and the answer is lost on its way.
        """
        self._stop_header_timer()
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # in the middle of another answer
            return
        response = error.response()
        headers = [
            *response.raw_headers,
            (b"connection", b"close"),
            (b"x-request-id", secrets.token_hex(12).encode()),
        ]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        body = bytes(response.body)
        self.transport.write(STATUS_LINE[error.status_code] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)
