"""Between routes and the engine: refusals, and work that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.api.client import collect
from service.engine.hosts.async_engine import QueueFullError
from service.engine.request import EngineRequest, RequestOutput
from service.http.errors import ApiError
from tests.service.plain_engine import PlainEngine

REQUEST = EngineRequest(request_id="r", prompts=((1, 9),), prompt_logprobs=0)


class RefusingEngine(PlainEngine):
    """Finds fault with every request."""

    async def submit(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        yield RequestOutput(request_id=request.request_id, finished=True, error="no such thing")


async def test_what_cannot_be_computed_is_the_requests_fault(engine: PlainEngine) -> None:
    with pytest.raises(ApiError, match="no such thing") as refusal:
        await collect(RefusingEngine(engine.model), REQUEST)
    assert refusal.value.status_code == 400


async def test_only_what_goes_on_waits_for_room(engine: PlainEngine) -> None:
    await engine.start()
    expected = await collect(engine, REQUEST)
    engine.max_active = 0
    with pytest.raises(QueueFullError):
        await collect(engine, REQUEST)
    waiting = asyncio.create_task(collect(engine, REQUEST, waits=True))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    engine.max_active = 1
    collected = await asyncio.wait_for(waiting, 5)
    assert str(collected) == str(expected)


async def test_waiting_ends_with_who_waits(engine: PlainEngine) -> None:
    await engine.start()
    engine.max_active = 0
    waiting = asyncio.create_task(collect(engine, REQUEST, waits=True))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    engine.max_active = 1
    await asyncio.sleep(0.05)
    assert engine.requests == []
