"""What arrives at the other side of a pipe is what was sent."""

from __future__ import annotations

import asyncio
import pickle
import time
from collections.abc import Awaitable

import numpy as np

from models.config import ModelConfig
from service.engine.hosts.wire import LargeRequest, pack_outputs, unpack_outputs, with_prompts
from service.engine.request import EngineRequest, PromptOutput, RequestOutput
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.asking import REQUESTS
from tests.service.engine.driving import Result, make_engine
from tests.service.engine.small_models import random_weights


def test_outputs_of_every_kind_survive_the_pipe() -> None:
    config = ModelConfig(vocab_size=30, embedding_size=4, hidden_sizes=(4,))
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=4)
    engine = make_engine(runner)
    sent, received = ({r.request_id: Result() for r in REQUESTS} for _ in range(2))
    for request in REQUESTS:
        engine.add_request(pickle.loads(pickle.dumps(request)))
    while engine.has_work:
        outputs = engine.step()
        arrived = unpack_outputs(pickle.loads(pickle.dumps(pack_outputs(outputs))))
        for output, copy in zip(outputs, arrived, strict=True):
            assert (copy.request_id, copy.cached_tokens) == (
                output.request_id,
                output.cached_tokens,
            )
            sent[output.request_id].add(output)
            received[output.request_id].add(copy)
    assert all(result.finished for result in sent.values())
    for name, result in sent.items():
        assert received[name].bits() == result.bits()
        assert all(
            output.logprobs is None or output.logprobs.dtype == np.float32
            for output in received[name].prompts.values()
        )


async def longest_turn(work: Awaitable[object]) -> float:
    """Seconds that the event loop's thread computed, at most, between two turns of another task."""
    longest, last, task = 0.0, time.thread_time(), asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0)
        now = time.thread_time()
        longest, last = max(longest, now - last), now
    await task
    return longest


async def test_a_request_of_a_million_tokens_is_packed_in_portions_and_arrives() -> None:
    text = tuple(k * k % 8192 for k in range(1_000_000))
    request = EngineRequest(request_id="large", prompts=(text, (), text[:9]), prompt_logprobs=0)
    assert LargeRequest.is_large(request)
    packing = asyncio.ensure_future(LargeRequest.of(request))
    assert await longest_turn(packing) < 0.02, "a tenth of what the whole takes, and less"
    packed = packing.result()
    begin = time.thread_time()
    sent = pickle.dumps(packed, pickle.HIGHEST_PROTOCOL)
    assert time.thread_time() - begin < 0.02, "numbers are copied, not looked at one by one"
    assert pickle.loads(sent).unpacked() == request


async def test_alternatives_by_the_hundred_thousand_are_unpacked_beside_the_loop() -> None:
    values = np.random.default_rng(0).normal(size=(40_000, 5)).astype(np.float32).tolist()
    top = ((), *(tuple(enumerate(row)) for row in values))
    prompt = PromptOutput(index=3, logprobs=np.zeros(40_001, np.float32), top=top)
    sent = pickle.dumps(pack_outputs([RequestOutput("r", prompts=(prompt,), finished=True)]))
    begin = time.thread_time()
    (output,) = unpack_outputs(pickle.loads(sent))
    assert time.thread_time() - begin < 0.02
    unpacking = asyncio.ensure_future(with_prompts(output))
    assert await longest_turn(unpacking) < 0.02
    (found,) = unpacking.result().prompts
    assert found.top == top
    assert found.index == 3
    assert unpacking.result().finished
