"""What surrounds every route: request id and log, draining, body limit, the client's departure.

Plain ASGI, outermost first in `MIDDLEWARE`. Each refuses in the contract's form of error.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
import zlib
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.access import HostMiddleware, KeyMiddleware, QuotaMiddleware
from service.http.call import CALL, Call
from service.http.dependencies import EXIT_STACK, AppContext, route_path
from service.http.errors import ApiError, as_api_error, note_error, refuse, unavailable
from service.http.prefix import PrefixMiddleware
from service.metrics import Metrics
from service.work_metrics import Work

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("service.access")

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_ALIVE_WHILE_DRAINING = ("/health", "/health/live", "/health/ready", "/metrics")
_DISCARD_S = 1.0

GetContext = Callable[[], AppContext]


class RequestMiddleware:
    """Names each request, counts and times it, and turns what nobody caught into a 500."""

    def __init__(self, app: ASGIApp, context: GetContext) -> None:
        self.app, self.context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        call = Call(request_id=request_id, started=time.perf_counter())
        scope[CALL], status = call, 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.setdefault("x-content-type-options", "nosniff")
            await send(message)

        metrics = self.context().metrics
        metrics.in_flight.inc()
        try:
            with self.context().lifecycle.request():
                async with AsyncExitStack() as stack:
                    scope[EXIT_STACK] = stack
                    await self.app(scope, receive, send_named)
        except Exception as error:
            logger.exception("request %s failed", request_id)
            refusal = as_api_error(error)
            note_error(scope, refusal)
            if not status:
                await refusal.response()(scope, receive, send_named)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            metrics.in_flight.dec()
            metrics.requests.labels(route, _method(scope), str(status or 499)).inc()
            metrics.latency.labels(route).observe(time.perf_counter() - call.started)
            _observe(metrics, call, status or 499)
            _log(call, _method(scope), route, status or 499)
            if (tracer := self.context().tracer) is not None:
                tracer.record(call, scope, route, status or 499)


class DrainMiddleware:
    """Refuses new work once the service is to end."""

    def __init__(self, app: ASGIApp, context: GetContext) -> None:
        self.app, self.context = app, context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        draining = scope["type"] == "http" and self.context().lifecycle.is_draining
        if draining and route_path(scope) not in _ALIVE_WHILE_DRAINING:
            refusal = unavailable("the server is shutting down")
            await refuse(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)


class HeadMiddleware:
    """Answers HEAD as GET, with the headers alone."""

    def __init__(self, app: ASGIApp, context: GetContext) -> None:  # noqa: ARG002
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if "body" in message else message)

        asked = {**scope, "method": "GET"}
        await self.app(asked, receive, send_head)
        scope["route"] = asked.get("route")  # for the log


class BodyMiddleware:
    """Reads the body within its limit, then cancels the work if the client goes away."""

    def __init__(self, app: ASGIApp, context: GetContext) -> None:
        self.app = app
        settings = context().settings
        self._limit, self._timeout_s = settings.max_body_bytes, settings.body_timeout_s
        # Bytes of bodies that have begun to arrive, of all clients together.
        self._most_held, self._num_held = settings.max_body_memory_mb << 20, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
            if body and "content-encoding" in Headers(scope=scope):
                body = await self._unpack(body, Headers(scope=scope)["content-encoding"])
        except ApiError as error:
            await _refuse_unread(error, scope, receive, send)
            return
        if body is None:
            return
        await self._run(body, scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None if the client went away before its end."""
        length = Headers(scope=scope).get("content-length", "0")
        if len(length) > len(str(self._limit)) or int(length) > self._limit:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    chunk = message.get("body", b"")
                    self._num_held += len(chunk)
                    body += chunk
                    self._check(len(body))
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise self._refusal(
                408, f"the body did not arrive within {self._timeout_s:g} s", "request_timeout"
            ) from None
        finally:
            self._num_held -= len(body)

    async def _unpack(self, body: bytes, encoding: str) -> bytes:
        """A gzip body, within the same limit as one that was sent plainly."""
        if encoding.lower() == "identity":
            return body
        if encoding.lower() not in ("gzip", "x-gzip"):
            raise ApiError(
                415,
                f"content-encoding {encoding[:40]!r}: gzip is taken, and none at all",
                code="unsupported_encoding",
            )
        try:
            unpacked = await asyncio.to_thread(_unpacked, body, self._limit + 1)
        except EOFError:
            raise ApiError(400, "the gzip body is cut short", code="invalid_gzip") from None
        except zlib.error:
            raise ApiError(400, "the body is no valid gzip", code="invalid_gzip") from None
        if len(unpacked) > self._limit:
            raise self._too_large()
        return unpacked

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise self._too_large()
        if self._num_held > self._most_held:
            raise self._refusal(
                503, "too many bodies are being received at once; come again", "unavailable"
            )

    def _too_large(self) -> ApiError:
        limit = self._limit
        return self._refusal(
            413, f"the body is larger than the limit of {limit} bytes", "body_too_large"
        )

    def _refusal(self, status: int, message: str, code: str) -> ApiError:
        # What is left of the body is not read: the connection cannot serve another request.
        headers = {"connection": "close"}
        if status == 503:
            headers["retry-after"] = "1"
        kind = "server_error" if status == 503 else "invalid_request_error"
        return ApiError(status, message, code=code, type=kind, headers=headers)

    async def _run(self, body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        is_read, is_answered, has_left = False, False, asyncio.Event()
        task = asyncio.current_task()
        assert task is not None

        async def replay() -> Message:
            nonlocal is_read
            if not is_read:
                is_read = True
                return {"type": "http.request", "body": body, "more_body": False}
            await has_left.wait()
            return {"type": "http.disconnect"}

        async def send_watched(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                is_answered = True
            await send(message)

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            if not is_answered:  # the end of an answer is told as a disconnect, too
                has_left.set()
                task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            await self.app(scope, replay, send_watched)
        except asyncio.CancelledError:
            if not has_left.is_set():
                raise
            task.uncancel()
        finally:
            watcher.cancel()


async def _refuse_unread(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once, then read on for a moment before the connection is closed.

    Closed while data arrive, it would be reset, and the answer lost on its way.
    """

    async def send_unfinished(message: Message) -> None:
        await send({**message, "more_body": True} if "body" in message else message)

    await refuse(error, scope, receive, send_unfinished)
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_S):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


MIDDLEWARE = (
    PrefixMiddleware,
    RequestMiddleware,
    HostMiddleware,
    KeyMiddleware,
    DrainMiddleware,
    QuotaMiddleware,
    BodyMiddleware,
    HeadMiddleware,
)


def _unpacked(body: bytes, limit: int) -> bytes:
    """A gzip body of one member or more (RFC 1952), not much more than `limit` bytes of it.

    EOFError where it is cut short; zlib.error where it is no gzip, or goes on as something else.
    """
    unpacked = bytearray()
    while body and len(unpacked) < limit:
        reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
        unpacked += reader.decompress(body, limit - len(unpacked))
        if not reader.eof:
            if len(unpacked) < limit:
                raise EOFError
            break
        body = reader.unused_data
    return bytes(unpacked)


def _observe(metrics: Metrics, call: Call, status: int) -> None:
    if call.model is not None:
        metrics.observe_work(
            call.model,
            Work(
                queued_s=call.queued_s,
                first_s=call.first_s,
                total_s=time.perf_counter() - call.started,
                prompt_tokens=call.prompt_tokens,
                new_tokens=call.new_tokens,
                finish_reasons=call.finish_reasons,
                status=status,
            ),
        )


def _log(call: Call, method: str, route: str, status: int) -> None:
    """The request's line in the log. A route's template is logged, not the client's path."""
    if not access_logger.isEnabledFor(logging.INFO):
        return
    fields = {
        "id": call.request_id,
        "key": call.key_name or None,
        "model": call.model,
        "method": method,
        "route": route,
        "status": status,
        "prompt_tokens": call.prompt_tokens or None,
        "new_tokens": call.new_tokens or None,
        "error": call.error,
        "ignored_fields": call.num_ignored or None,
        "queued_ms": _ms(call.queued_s),
        "first_ms": _ms(call.first_s),
        "total_ms": _ms(time.perf_counter() - call.started),
    }
    access_logger.info("request", extra={"fields": fields})


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)


def _request_id(scope: Scope) -> str:
    """The client's own, if it can stand in a header and a log, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(12)


def _method(scope: Scope) -> str:
    """The method, if it is one: a client must not create counters at will."""
    known = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    method: str = scope["method"]
    return method if method in known else "other"
