"""The best ways to go on of many beams at once, against every token of each looked at alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from service.engine.beam_candidates import beam_candidates
from service.engine.request import Floats, SamplingParams
from service.engine.sampling.logits_processors import PromptTokens, SamplingRules

VOCAB, PROMPT = 40, (7, 8)
GENERATED = [(), (3,), (3, 5), (9, 3)]
SETTINGS = {
    "none": SamplingParams(),
    "a stop": SamplingParams(stop_token_ids=(2,)),
    "many stops": SamplingParams(stop_token_ids=tuple(range(0, 40, 2))),
    "only these": SamplingParams(allowed_token_ids=(3, 9, 11), stop_token_ids=(9,)),
    "never these": SamplingParams(suppressed_token_ids=tuple(range(20)), stop_token_ids=(25,)),
    "a bias": SamplingParams(logit_bias={6: 30.0, 12: -30.0}, stop_token_ids=(6,)),
    "bad words": SamplingParams(bad_words=((3, 5), (5,), (8, 1)), stop_token_ids=(2,)),
    "not yet": SamplingParams(min_tokens=2, stop_token_ids=(2, 3)),
}


def heads(seed: int) -> Floats:
    """ln P (R, V) with ties among them."""
    drawn = np.round(np.random.default_rng(seed).normal(size=(len(GENERATED), VOCAB)), 1)
    normal: Floats = (drawn - np.log(np.exp(drawn).sum(axis=1, keepdims=True))).astype(np.float32)
    return normal


def is_forbidden(token: int, generated: Sequence[int], params: SamplingParams) -> bool:
    said = (*PROMPT, *generated, token)
    return (
        (params.allowed_token_ids is not None and token not in params.allowed_token_ids)
        or token in params.suppressed_token_ids
        or (token in params.stop_token_ids and len(generated) < params.min_tokens)
        or any(said[-len(word) :] == word for word in params.bad_words)
    )


def ways_on(head: Floats, generated: Sequence[int], params: SamplingParams) -> dict[int, float]:
    """By token that may follow, its ranking; best first, of equals the lower id."""
    found = {
        token: float(np.float32(value) + np.float32(params.logit_bias.get(token, 0.0)))
        for token, value in enumerate(head)
        if not is_forbidden(token, generated, params)
    }
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


@pytest.mark.parametrize("params", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("width", [1, 3, 60])
def test_they_are_the_best_and_the_best_that_do_not_stop(
    params: SamplingParams, width: int
) -> None:
    rules, given = SamplingRules(params), heads(width)
    before = given.copy()
    prompt = PromptTokens(rules, PROMPT)
    found = beam_candidates(given, GENERATED, rules, prompt, width, lambda: given)
    np.testing.assert_array_equal(given, before)
    for own, head, generated in zip(found, given, GENERATED, strict=True):
        expected = ways_on(head, generated, params)
        going_on = [token for token in expected if token not in params.stop_token_ids]
        ids = own.ids.tolist()
        assert ids[:width] == [*expected][:width]
        assert [token for token in ids if token in going_on][:width] == going_on[:width]
        assert set(ids) <= set(expected)
        assert len(set(ids)) == len(ids)
        assert own.rankings.tolist() == pytest.approx([expected[token] for token in ids])
        assert own.logprobs.tolist() == head[ids].tolist()


def test_a_beam_that_may_not_go_on_has_none() -> None:
    rules = SamplingRules(SamplingParams(allowed_token_ids=(3,), bad_words=((3, 3),)))
    given = heads(0)[:2]
    prompt = PromptTokens(rules, PROMPT)
    free, dead = beam_candidates(given, [(), (3,)], rules, prompt, 4, lambda: given)
    assert (free.ids.tolist(), dead.ids.tolist()) == ([3], [])
