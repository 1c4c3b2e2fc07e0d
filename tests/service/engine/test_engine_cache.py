"""What the state cache saves, and what it must not mix up."""

from __future__ import annotations

from typing import Any

import pytest

from service.engine.request import NextToken, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.driving import Result, make_engine, run_one, some_start, stream


def test_a_repeated_prompt_is_not_computed_again(runner: OnnxRunner) -> None:
    engine, prompt = make_engine(runner), tuple(range(20))
    wanted: dict[str, Any] = {"prompt_logprobs": 0, "next_token": NextToken(full=True)}
    cold = run_one(engine, prompts=(prompt,), **wanted)
    steps = engine.counters.step_rows
    warm = run_one(engine, prompts=((*prompt, 20),), **wanted)
    assert (cold.cached_tokens, warm.cached_tokens) == (0, 20)
    assert engine.counters.step_rows == steps + 1
    fresh = run_one(make_engine(runner), prompts=((*prompt, 20),), **wanted)
    assert warm.bits() == fresh.bits()


def test_a_scored_and_then_continued_prompt_can_be_scored_again(runner: OnnxRunner) -> None:
    engine, prompt = make_engine(runner), tuple(range(20))
    longer = (*prompt, 20, 21)
    run_one(engine, prompts=(prompt,), prompt_logprobs=0)
    run_one(engine, prompts=(prompt,), sampling=SamplingParams(max_tokens=2))
    scored = run_one(engine, prompts=(longer,), prompt_logprobs=0)
    assert scored.cached_tokens == 20
    assert (
        scored.bits() == run_one(make_engine(runner), prompts=(longer,), prompt_logprobs=0).bits()
    )


@pytest.mark.parametrize("keep", [False, True])
def test_a_continuation_is_kept_for_the_next_turn(runner: OnnxRunner, keep: bool) -> None:
    """At its end always; with keep_states after every eighth of its tokens."""
    engine, prompt = make_engine(runner), (5, 6, 7)
    sampling = SamplingParams(max_tokens=20)
    result = run_one(engine, prompts=(prompt,), sampling=sampling, keep_states=keep)
    whole = (*prompt, *result.ids(), 9)
    assert run_one(engine, prompts=(whole,), next_token=NextToken()).cached_tokens == 22
    engine = make_engine(runner)
    run_one(engine, prompts=(prompt,), sampling=sampling, keep_states=keep)
    part = (*whole[:21], 60)
    again = run_one(engine, prompts=(part,), next_token=NextToken(full=True))
    assert again.cached_tokens == (3 + 16 if keep else 3)
    fresh = run_one(make_engine(runner), prompts=(part,), next_token=NextToken(full=True))
    assert again.bits() == fresh.bits()


def test_a_stopped_sample_is_kept_for_the_next_turn(runner: OnnxRunner) -> None:
    engine, result = make_engine(runner), Result()
    engine.add_request(stream("r"))
    while len(result.tokens.get((0, 0), ())) < 5:
        for output in engine.step():
            result.add(output)
    engine.stop_sample("r", 0, 0)
    engine.step()
    longer = (1, 2, *result.ids(), 9)
    again = run_one(engine, prompts=(longer,), next_token=NextToken(full=True))
    assert again.cached_tokens == 6  # all but the last token, which was drawn but not fed
    fresh = run_one(make_engine(runner), prompts=(longer,), next_token=NextToken(full=True))
    assert again.bits() == fresh.bits()


def test_states_after_different_starts_are_told_apart(runner: OnnxRunner) -> None:
    engine, prompt = make_engine(runner), tuple(range(10))
    wanted = NextToken(full=True)
    for ids in ((7,), (8,)):
        start = some_start(runner, ids)
        result = run_one(engine, prompts=(prompt,), start=start, next_token=wanted)
        assert result.cached_tokens == 0
        fresh = run_one(make_engine(runner), prompts=(prompt,), start=start, next_token=wanted)
        assert result.bits() == fresh.bits()
    longer = (*prompt, 3)
    again = run_one(engine, prompts=(longer,), start=some_start(runner, (7,)), next_token=wanted)
    assert again.cached_tokens == 10


def test_without_cache_nothing_is_kept(runner: OnnxRunner) -> None:
    engine = make_engine(runner, cache_bytes=0)
    for _ in range(2):
        assert run_one(engine, prompts=((1, 2, 3, 4),), prompt_logprobs=0).cached_tokens == 0
    assert len(engine.cache) == 0
