"""The two ways to draw, asked directly: from the most probable tokens, and from all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.request import Floats, SamplingParams
from service.engine.sampling.draw import (
    RowSettings,
    draw_from_all,
    draw_from_best,
    num_candidates,
    stream_key,
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
