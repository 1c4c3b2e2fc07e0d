"""Server-sent events: the stream as an answer, and one event's bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.types import Send

DONE = b"data: [DONE]\n\n"
_HEARTBEAT = b": still working\n\n"


def event(data: object) -> bytes:
    """One event; what is not finite in `data` becomes null."""
    return b"data: " + to_json(data, inf_nan_mode="null") + b"\n\n"


class EventStream(StreamingResponse):
    """Sends events as they come, and a comment line where none has come for a while.

    The source is closed when the stream ends or the client leaves, so that its work stops.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], *, heartbeat_s: float) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(events, headers=headers)
        self._events = events
        self._heartbeat_s = heartbeat_s

    async def stream_response(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        loop = asyncio.get_running_loop()
        last_sent = loop.time()

        async def beat() -> None:
            while True:
                silence = loop.time() - last_sent
                if silence >= self._heartbeat_s:
                    await send(_body(_HEARTBEAT))
                    silence = 0
                await asyncio.sleep(self._heartbeat_s - silence)

        heartbeat = asyncio.create_task(beat())
        try:
            async with aclosing(self._events):
                async for chunk in self._events:
                    last_sent = loop.time()
                    await send(_body(chunk))
        finally:
            heartbeat.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _body(chunk: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": chunk, "more_body": True}
