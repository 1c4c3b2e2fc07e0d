"""Asynchronous engines asked from tests: whole results, streams, and every kind of request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from service.engine.hosts.async_engine import AsyncEngine
from service.engine.request import EngineRequest, NextToken, SamplingParams
from tests.service.engine.driving import Result

# All that travels: scores, alternatives, distributions, states, samples, beams.
REQUESTS = (
    EngineRequest(
        request_id="prompts",
        prompts=((1, 2, 3), (1, 2, 4, 5)),
        prompt_logprobs=2,
        score_from=(1, 0),
        next_token=NextToken(top_k=2, token_ids=(7,), full=True),
        state_at=(2, None),
    ),
    EngineRequest(
        request_id="samples",
        prompts=((9, 9, 8),),
        sampling=SamplingParams(n=3, max_tokens=20, top_p=0.9, logprobs=2, logit_bias={4: 1.0}),
    ),
    EngineRequest(
        request_id="beams",
        prompts=((9, 9),),
        sampling=SamplingParams(beam_width=3, n=2, max_tokens=5, stop_token_ids=(1, 2, 3)),
    ),
)


def endless(request_id: str = "endless") -> EngineRequest:
    """A stream that does not end by itself in a test's time."""
    sampling = SamplingParams(max_tokens=10**6)
    return EngineRequest(request_id=request_id, prompts=((1,),), sampling=sampling)


async def ask(engine: AsyncEngine, request: EngineRequest) -> Result:
    result = Result()
    async for output in engine.submit(request):
        result.add(output)
    return result


async def ask_all(engine: AsyncEngine) -> list[Result]:
    """The results of all kinds of request, made at the same time."""
    return list(await asyncio.gather(*(ask(engine, request) for request in REQUESTS)))


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
