"""Streams of sampled tokens through an engine, for the benchmarks that need many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.driving import run
from service.engine.engine import Engine
from service.engine.request import EngineRequest, SamplingParams


def stream_requests(
    prompts: Sequence[Sequence[int]], sampling: SamplingParams, first_seed: int = 0
) -> list[EngineRequest]:
    """A request a prompt, each with a seed of its own."""
    return [
        EngineRequest(
            request_id=str(k),
            prompts=(tuple(prompt),),
            sampling=replace(sampling, seed=first_seed + k),
        )
        for k, prompt in enumerate(prompts)
    ]


def generate(engine: Engine, requests: Sequence[EngineRequest]) -> int:
    """Run the requests to their end; returns how many tokens were generated.

    Raises RuntimeError where that is not what they asked for.
    """
    tokens = sum(len(output.tokens) for output in run(engine, requests))
    wanted = sum(request.sampling.max_tokens for request in requests if request.sampling)
    if tokens != wanted:
        raise RuntimeError(f"the engine generated {tokens} tokens where {wanted} were asked for")
    return tokens
