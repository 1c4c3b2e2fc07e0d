"""What is kept for later requests, and at what price."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np

from service.engine import state_cache
from service.engine.request import EngineRequest, NextToken, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.driving import make_engine, run, run_one


def test_a_scope_finds_only_what_was_left_in_it(runner: OnnxRunner) -> None:
    engine, prompt = make_engine(runner), tuple(range(20))
    wanted = NextToken(full=True)
    run_one(engine, prompts=(prompt,), next_token=wanted, cache_scope="mine")
    found = [
        run_one(engine, prompts=((*prompt, 7),), next_token=wanted, cache_scope=scope)
        for scope in ("yours", "", "mine")
    ]
    assert [result.cached_tokens for result in found] == [0, 0, 20]
    assert found[0].bits() == found[1].bits() == found[2].bits()


def test_continuations_of_a_long_prompt_are_kept_without_copying_it(runner: OnnxRunner) -> None:
    """Only new tokens are handed to the cache, however many continuations there are."""
    engine, prompt = make_engine(runner), tuple(k % 50 for k in range(2000))
    handed: list[int] = []
    put = engine.cache.put

    def counting(*arguments: object) -> object:
        handed.append(len(arguments[1]))  # type: ignore[arg-type]
        return put(*arguments)  # type: ignore[arg-type]

    sampling = SamplingParams(n=30, max_tokens=20)
    with patch.object(engine.cache, "put", counting):
        run_one(engine, prompts=(prompt,), sampling=sampling, keep_states=True)
    assert sorted(handed)[-1] == len(prompt)
    assert sum(handed) == len(prompt) + 30 * 19
    engine.cache.check_integrity()


def test_prompts_that_part_are_continued_from_their_own_ends(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    sampling = SamplingParams(n=3, max_tokens=6, seed=2)
    request = EngineRequest(
        request_id="r", prompts=((1, 2, 3, 4), (1, 2, 9, 9)), sampling=sampling, keep_states=True
    )
    (result,) = run(engine, request)
    for (prompt, _), tokens in result.tokens.items():
        ids = [token.token_id for token in tokens]
        longer = (*request.prompts[prompt], *ids, 7)
        again = run_one(engine, prompts=(longer,), next_token=NextToken(full=True))
        fresh = run_one(make_engine(runner), prompts=(longer,), next_token=NextToken(full=True))
        assert again.cached_tokens == len(longer) - 2
        assert again.bits() == fresh.bits()


def test_a_place_that_made_room_is_not_built_upon(runner: OnnxRunner) -> None:
    """With a cache of hardly two states everything is forgotten again before it is used."""
    state_bytes = 4 * runner.layout.size
    engine = make_engine(runner, cache_bytes=2 * (state_bytes + state_cache._OVERHEAD + 400))
    sampling = SamplingParams(n=6, max_tokens=40)
    result = run_one(engine, prompts=((1, 2, 3),), sampling=sampling, keep_states=True)
    assert len(result.tokens) == 6
    assert np.all([len(tokens) == 40 for tokens in result.tokens.values()])
    assert len(engine.cache) <= 2
