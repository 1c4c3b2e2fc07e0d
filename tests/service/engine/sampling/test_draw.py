"""The two ways to draw, asked directly: from the most probable tokens, and from all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.request import Floats, SamplingParams
from service.engine.sampling.draw import (
    COLDEST,
    RowSettings,
    draw_from_all,
    draw_from_best,
    num_candidates,
    stream_key,
    typical_tokens,
    uniform,
)
from service.engine.sampling.logits_processors import SampleState
from service.engine.sampling.softmax_sums import Arena, Exponentials, Sums
from service.engine.sampling.top_candidates import top_candidates
from tests.service.engine.exact_sampling import exact_draw

VOCAB, ROWS = 1024, 5
FIRST = np.zeros(ROWS, np.uint64)  # positions


def logprobs_of(seed: int, spread: float) -> Floats:
    logits = np.random.default_rng(seed).normal(0, spread, (ROWS, VOCAB))
    result: Floats = (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)
    return result


def settings_of(params: SamplingParams) -> RowSettings:
    return RowSettings.of([SampleState.of(params, stream_key(k)) for k in range(ROWS)], VOCAB)


def log_masses(values: Floats, own: RowSettings) -> Any:
    return Sums.of(values, own.inverse, Arena()).log_totals()


TRUNCATED = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.5, 1.0, 1.7]),
    top_k=st.sampled_from([0, 3, 40]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    min_p=st.sampled_from([0.0, 0.1]),
).filter(lambda p: p.top_k or p.top_p < 1 or p.min_p)


@settings(max_examples=60)
@given(params=TRUNCATED, seed=st.integers(0, 30), spread=st.sampled_from([0.2, 1.0, 3.0, 6.0]))
def test_either_way_draws_what_the_definition_does(
    params: SamplingParams, seed: int, spread: float
) -> None:
    values, own, positions = (
        logprobs_of(seed, spread),
        settings_of(params),
        np.zeros(ROWS, np.uint64),
    )
    best = top_candidates(values, num_candidates(params.top_k, VOCAB))
    found, complete = draw_from_best(best, own, positions, log_masses(values, own), VOCAB)
    sums = Sums.of(values, own.inverse, Arena())
    for k in range(ROWS):
        numbers = lambda attempt, k=k: uniform(stream_key(k), 0, attempt)  # noqa: E731
        if complete[k]:
            assert found[k] == exact_draw(values[k], params, numbers)
    if not params.top_k and not complete.any():
        everything = Exponentials.of(values, sums, Arena())
        drawn = draw_from_all(everything, own, positions, VOCAB, Arena())
        for k, token in enumerate(drawn.tolist()):
            numbers = lambda attempt, k=k: uniform(stream_key(k), 0, attempt)  # noqa: E731
            assert token == exact_draw(values[k], params, numbers)


@pytest.mark.parametrize("spread", [0.2, 4.0])
def test_candidates_say_whether_they_hold_the_nucleus(spread: float) -> None:
    params = SamplingParams(top_p=0.9)
    values, own = logprobs_of(1, spread), settings_of(params)
    best = top_candidates(values, num_candidates(0, VOCAB))
    _, complete = draw_from_best(
        best, own, np.zeros(ROWS, np.uint64), log_masses(values, own), VOCAB
    )
    held = np.exp(best.values.astype(np.float64)).sum(axis=1) >= 0.9
    assert complete.tolist() == held.tolist()
    assert complete.all() == (spread > 1)


def test_more_candidates_change_no_draw() -> None:
    params = SamplingParams(top_k=20, top_p=0.8)
    values, own = logprobs_of(2, 2.0), settings_of(params)
    for position in range(50):
        positions = np.full(ROWS, position, np.uint64)
        drawn = [
            draw_from_best(top_candidates(values, count), own, positions, np.zeros(ROWS), VOCAB)[0]
            for count in (20, 64, 256)
        ]
        assert drawn[0].tolist() == drawn[1].tolist() == drawn[2].tolist()


@pytest.mark.parametrize("params", [SamplingParams(top_p=0.6), SamplingParams(typical_p=0.5)])
def test_what_is_drawn_from_all_lies_in_the_set(params: SamplingParams) -> None:
    values, own = logprobs_of(3, 1.0), settings_of(params)
    for position in range(40):
        sums = Sums.of(values, own.inverse, Arena())
        positions = np.full(ROWS, position, np.uint64)
        drawn = draw_from_all(
            Exponentials.of(values, sums, Arena()), own, positions, VOCAB, Arena()
        )
        for k, token in enumerate(drawn.tolist()):
            numbers = lambda attempt, k=k, p=position: uniform(stream_key(k), p, attempt)  # noqa: E731
            generated = [0] * position
            assert token == exact_draw(values[k], params, numbers, (), generated)


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9, 0.999])
def test_the_set_is_the_smallest_that_is_nearest_to_the_entropy(mass: float) -> None:
    weights = np.random.default_rng(0).random((4, 50)) ** 4
    weights[1, 10:] = 0
    keep = typical_tokens(weights, np.full(4, mass))
    for own, kept in zip(weights, keep, strict=True):
        p = own[own > 0] / own.sum()
        distance = np.abs(-np.log(p) + (p * np.log(p)).sum())
        inside = kept[own > 0]
        assert not kept[own == 0].any()
        assert p[inside].sum() >= mass > p[inside].sum() - p[inside][distance[inside].argmax()]
        assert inside.all() or distance[inside].max() <= distance[~inside].min()


def test_of_equally_near_tokens_the_leftmost_stay_and_one_always() -> None:
    even = np.full((1, 4), 0.25)
    assert typical_tokens(even, np.array([0.5])).tolist() == [[True, True, False, False]]
    assert typical_tokens(even, np.array([1e-9])).tolist() == [[True, False, False, False]]
    nothing = np.zeros((1, 3))  # what a row is whose every token was banned
    assert not typical_tokens(nothing, np.array([0.5])).any()


@pytest.mark.parametrize(
    ("top_k", "vocab", "expected"),
    [(0, 8192, 64), (5, 8192, 64), (64, 8192, 64), (65, 8192, 256), (5, 30, 30), (8192, 8192, 64)],
)
def test_how_many_candidates_are_looked_at_first(top_k: int, vocab: int, expected: int) -> None:
    assert num_candidates(top_k, vocab) == expected


def test_settings_say_what_each_row_needs() -> None:
    each = [
        SamplingParams(),
        SamplingParams(temperature=COLDEST / 2),
        SamplingParams(top_p=0.5, temperature=0.5),
        SamplingParams(top_k=2000),
        SamplingParams(typical_p=0.5),
        SamplingParams(min_p=0.1, top_p=0.5),
    ]
    own = RowSettings.of([SampleState.of(params, 7 + k) for k, params in enumerate(each)], VOCAB)
    assert own.greedy.tolist() == [False, True, False, False, False, False]
    assert own.pure.tolist() == [True, False, False, True, False, False]
    assert own.only_top_p.tolist() == [False, False, True, False, False, False]
    assert own.num_candidates.tolist() == [0, 0, 64, 0, 0, 64]
    assert own.top_k.tolist() == [VOCAB] * 6
    assert own.inverse[2] == 2
    some = own.rows(np.array([2, 0]))
    assert some.top_p.tolist() == [0.5, 1]
    assert some.keys.tolist() == own.keys[[2, 0]].tolist()
