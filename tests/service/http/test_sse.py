"""Events, heartbeats, and what happens when the reader goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
from starlette.types import Message

from service.http.sse import DONE, EventStream, event


def test_an_event_is_one_line_of_json() -> None:
    data = {"text": 'a\nb\u2028"é', "logprob": float("-inf")}
    encoded = event(data).decode()
    assert encoded.startswith("data: ")
    assert encoded.endswith("\n\n")
    assert encoded.count("\n") == 2
    assert json.loads(encoded[6:]) == {"text": 'a\nb\u2028"é', "logprob": None}


async def collect(stream: EventStream) -> list[bytes]:
    """Bodies that the stream sends to a client that stays."""
    bodies: list[bytes] = []

    async def send(message: Message) -> None:
        bodies.append(message.get("body", b""))

    await stream.stream_response(send)
    return [body for body in bodies if body]


async def test_silence_is_filled_with_comments() -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield event("first")
        await asyncio.sleep(0.1)
        yield DONE

    bodies = await collect(EventStream(events(), heartbeat_s=0.02))
    assert bodies[0] == event("first")
    assert bodies[-1] == DONE
    assert len(bodies) > 3
    for comment in bodies[1:-1]:
        assert comment.startswith(b":")
        assert comment.endswith(b"\n\n")


async def test_a_busy_stream_has_no_comments() -> None:
    async def events() -> AsyncGenerator[bytes]:
        for _ in range(20):
            await asyncio.sleep(0.005)
            yield DONE

    assert await collect(EventStream(events(), heartbeat_s=0.05)) == [DONE] * 20


async def test_the_source_is_closed_when_sending_is_cancelled() -> None:
    closed = asyncio.Event()

    async def events() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield DONE
        finally:
            closed.set()

    async def send(message: Message) -> None:
        if message.get("body"):
            await asyncio.Event().wait()

    task = asyncio.create_task(EventStream(events(), heartbeat_s=1).stream_response(send))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed.is_set()
