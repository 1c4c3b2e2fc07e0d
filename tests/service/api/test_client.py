"""Between routes and the engine: refusals, and work that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from models.tokenizer import Tokenizer
from service.api.client import Computed, ModelClient
from service.engine.hosts.async_engine import QueueFullError
from service.engine.request import EngineRequest, Priority, RequestOutput
from service.http.errors import ApiError
from service.text.history import begin
from tests.service.api.clients import make_client
from tests.service.plain_engine import PlainEngine


class RefusingEngine(PlainEngine):
    """Finds fault with every request."""

    async def submit(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        yield RequestOutput(request_id=request.request_id, finished=True, error="no such thing")


@pytest.fixture
async def model_client(engine: PlainEngine, tokenizer: Tokenizer) -> ModelClient:
    await engine.start()
    return make_client(engine, tokenizer)


async def compute(client: ModelClient) -> Computed:
    return await client.compute([(1, 9)], start=None, prompt_logprobs=0)


async def test_what_cannot_be_computed_is_the_requests_fault(
    engine: PlainEngine, tokenizer: Tokenizer
) -> None:
    with pytest.raises(ApiError, match="no such thing") as refusal:
        await compute(make_client(RefusingEngine(engine.model), tokenizer))
    assert refusal.value.status_code == 400


async def test_only_what_goes_on_waits_for_room(
    model_client: ModelClient, engine: PlainEngine, tokenizer: Tokenizer
) -> None:
    expected = await compute(model_client)
    engine.max_active = 0
    with pytest.raises(QueueFullError):
        await compute(make_client(engine, tokenizer))
    waiting = asyncio.create_task(compute(model_client))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    engine.max_active = 1
    computed = await asyncio.wait_for(waiting, 5)
    assert str(computed) == str(expected)


async def test_waiting_ends_with_who_waits(model_client: ModelClient, engine: PlainEngine) -> None:
    await compute(model_client)
    engine.max_active = 0
    waiting = asyncio.create_task(compute(model_client))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    engine.max_active = 1
    await asyncio.sleep(0.05)
    assert len(engine.requests) == 1


async def test_a_history_as_a_state_costs_one_request_of_the_clients_priority(
    model_client: ModelClient, engine: PlainEngine, tokenizer: Tokenizer
) -> None:
    model_client.priority = Priority.BULK
    history = begin(tokenizer, bos=True).with_text("the cat sat ")
    begun, _ = await model_client.as_state(history)
    assert (begun.ids, begun.pending) == ((), history.pending)
    assert [request.priority for request in engine.requests] == [Priority.BULK]
    assert (await model_client.as_state(begun))[0] is begun
    assert len(engine.requests) == 1


async def test_a_sealed_state_opens_to_the_history_it_was_made_of(
    model_client: ModelClient, tokenizer: Tokenizer
) -> None:
    history = begin(tokenizer, bos=True).with_text("the cat sat o")
    begun, _ = await model_client.as_state(history)
    (sealed,) = await model_client.seal_states([history])
    assert model_client.open_state(sealed) == begun


@pytest.mark.parametrize("limit", [3, 40])
async def test_a_text_that_is_too_long_is_not_segmented_to_its_end(
    engine: PlainEngine, tokenizer: Tokenizer, limit: int
) -> None:
    client = make_client(engine, tokenizer, max_prompt_tokens=limit)
    long = "the cat sat " * 100_000
    with pytest.raises(ApiError, match=rf"context: \d+ tokens or more, the limit is {limit}"):
        await client.history(state=None, bos=True, text=long)
    before = await client.history(state=None, bos=True)
    with pytest.raises(ApiError, match=r"texts: \d+ tokens or more") as refusal:
        await client.prompts(before, ["the", long], eos=True, param="texts")
    assert refusal.value.code == "limit_exceeded"
    assert int(refusal.value.message.split()[1]) < 50_000
    assert engine.requests == []
