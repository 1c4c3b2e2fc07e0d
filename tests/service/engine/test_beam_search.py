"""The search's bookkeeping, over a made-up model whose every continuation can be listed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine.beam_candidates import BeamCandidates
from service.engine.beam_search import BeamSearch, Hypothesis
from service.engine.request import SamplingParams

VOCAB = 4
STATE = np.zeros(1, np.float32)


def next_logprobs(seed: int, tokens: tuple[int, ...]) -> NDArray[np.float64]:
    """ln P (V,) after a history: any function of it will do."""
    weights = np.random.default_rng([seed, len(tokens), *tokens]).exponential(size=VOCAB) + 1e-3
    logprobs: NDArray[np.float64] = np.log(weights / weights.sum())
    return logprobs


def candidates(*found: tuple[int, float, float]) -> BeamCandidates:
    """Of (token, ranking, ln P), best first."""
    ids, rankings, logprobs = zip(*found, strict=True)
    return BeamCandidates(np.array(ids), np.array(rankings, float), np.array(logprobs, float))


def search(params: SamplingParams, seed: int) -> list[tuple[Hypothesis, bool]]:
    """Run a search to its end, beams reporting in an order of no importance."""
    beams = BeamSearch(params)
    while True:
        done = False
        for index in reversed(range(len(beams.beams))):
            logprobs = next_logprobs(seed, beams.beams[index].tokens)
            order = np.argsort(-logprobs, kind="stable").tolist()
            going_on = [token for token in order if token not in params.stop_token_ids]
            wanted = {*order[: beams.width], *going_on[: beams.width]}
            ways = candidates(*((t, logprobs[t], logprobs[t]) for t in order if t in wanted))
            done = beams.report(index, ways, (), np.full(1, index, np.float32))
        assert done, "all have reported"
        if not beams.advance():
            return beams.best()


def continuations(params: SamplingParams) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Every continuation there is, and whether it ends by a stop token."""
    for length in range(1, params.max_tokens + 1):
        for tokens in product(range(VOCAB), repeat=length):
            stopped = tokens[-1] in params.stop_token_ids
            early = any(token in params.stop_token_ids for token in tokens[:-1])
            if not early and (stopped or length == params.max_tokens):
                yield tokens, stopped


def score(seed: int, tokens: tuple[int, ...], length_penalty: float) -> float:
    total = sum(next_logprobs(seed, tokens[:k])[token] for k, token in enumerate(tokens))
    return float(total / len(tokens) ** length_penalty)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    max_tokens=st.integers(1, 3),
    stop=st.sets(st.integers(0, VOCAB - 1), max_size=2),
    penalty=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]),
    n=st.integers(1, 5),
)
def test_a_search_wide_enough_finds_the_best_of_all(
    seed: int, max_tokens: int, stop: set[int], penalty: float, n: int
) -> None:
    params = SamplingParams(
        beam_width=VOCAB**3,
        n=n,
        max_tokens=max_tokens,
        stop_token_ids=tuple(stop),
        length_penalty=penalty,
    )
    found = search(params, seed)
    every = list(continuations(params))
    every.sort(key=lambda item: -score(seed, item[0], penalty))
    assert [(hypothesis.tokens, stopped) for hypothesis, stopped in found] == every[:n]
    for hypothesis, _ in found:
        assert hypothesis.score(penalty) == pytest.approx(score(seed, hypothesis.tokens, penalty))
        assert sum(hypothesis.logprobs) == pytest.approx(hypothesis.total)


def plain_beam_search(params: SamplingParams, seed: int) -> list[tuple[int, ...]]:
    """The textbook's loop to the token limit, without any early end; the best n."""
    assert params.beam_width is not None
    beams: list[tuple[int, ...]] = [()]
    finished: list[tuple[int, ...]] = []
    for _ in range(params.max_tokens):
        longer = [(*beam, token) for beam in beams for token in range(VOCAB)]
        longer.sort(key=lambda tokens: -score(seed, tokens, 0))
        finished += [
            tokens for tokens in longer[: params.beam_width] if tokens[-1] in params.stop_token_ids
        ]
        going_on = [tokens for tokens in longer if tokens[-1] not in params.stop_token_ids]
        beams = going_on[: params.beam_width]
    every = finished + beams
    return sorted(every, key=lambda tokens: -score(seed, tokens, params.length_penalty))[: params.n]


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 4),
    max_tokens=st.integers(1, 6),
    stop=st.sets(st.integers(0, VOCAB - 1), max_size=2),
    penalty=st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
)
def test_ending_early_changes_nothing(
    seed: int, width: int, max_tokens: int, stop: set[int], penalty: float
) -> None:
    params = SamplingParams(
        beam_width=width,
        n=width,
        max_tokens=max_tokens,
        stop_token_ids=tuple(stop),
        length_penalty=penalty,
    )
    found = [hypothesis.tokens for hypothesis, _ in search(params, seed)]
    assert found == plain_beam_search(params, seed)


def test_a_width_of_one_is_greedy() -> None:
    params = SamplingParams(beam_width=1, max_tokens=8)
    tokens: tuple[int, ...] = ()
    for _ in range(8):
        tokens = (*tokens, int(next_logprobs(3, tokens).argmax()))
    assert [hypothesis.tokens for hypothesis, _ in search(params, 3)] == [tokens]


def test_each_next_beam_continues_the_state_of_its_parent() -> None:
    beams = BeamSearch(SamplingParams(beam_width=2, max_tokens=3))
    assert beams.report(0, candidates((0, -1, -1), (1, -2, -2)), (), STATE)
    assert len(beams.advance()) == 2
    assert not beams.report(1, candidates((0, -1, -1), (3, -1.5, -1.5)), (), STATE + 1)
    assert beams.report(0, candidates((2, -9, -9)), (), STATE)
    assert [state.tolist() for state in beams.advance()] == [[1], [1]]
    assert [beam.tokens for beam in beams.beams] == [(1, 0), (1, 3)]


def test_a_search_that_settles_ends_before_its_limit() -> None:
    """Two finished continuations that no other can overtake end it at once."""
    beams = BeamSearch(SamplingParams(beam_width=2, max_tokens=1000, stop_token_ids=(0, 1)))
    steps = 0
    while True:
        steps += 1
        for index in range(len(beams.beams)):
            stopping, others = (
                ((0, -0.1, -0.1), (1, -0.2, -0.2)),
                ((2, -500, -500), (3, -600, -600)),
            )
            beams.report(index, candidates(*stopping, *others), (), STATE)
        if not beams.advance():
            break
    assert steps == 1
    assert [hypothesis.tokens for hypothesis, _ in beams.best()] == [(0,)]


def test_candidates_rank_by_what_the_settings_make_of_them() -> None:
    """Bans and biases choose; what is reported is the model's own."""
    beams = BeamSearch(SamplingParams(beam_width=1, max_tokens=1))
    beams.report(0, candidates((3, -0.5, -4), (2, -0.7, -0.1)), ((2, -0.1),), STATE)
    assert beams.advance() == []
    ((best, stopped),) = beams.best()
    assert (best.tokens, best.logprobs, best.tops, stopped) == ((3,), (-4,), (((2, -0.1),),), False)
