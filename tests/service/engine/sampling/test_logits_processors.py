"""Biases, penalties and bans against their definitions, put on and taken off again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.request import Floats, SamplingParams
from service.engine.sampling.logits_processors import LogitsProcessors, SampleState, processed
from tests.service.engine.exact_sampling import exact_distribution

VOCAB = 100
token_ids = st.integers(0, VOCAB - 1)
histories = st.lists(token_ids, max_size=60)
few = st.lists(token_ids, max_size=4).map(tuple)


@st.composite
def settings_of_rows(draw: st.DrawFn) -> SamplingParams:
    return SamplingParams(
        repetition_penalty=draw(st.sampled_from([1.0, 1.5, 0.5])),
        presence_penalty=draw(st.sampled_from([0.0, 0.7, -0.7])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.3, -0.3])),
        logit_bias=draw(st.dictionaries(token_ids, st.floats(-9, 9, width=16), max_size=4)),
        allowed_token_ids=draw(st.none() | few),
        suppressed_token_ids=draw(few),
        bad_words=draw(st.lists(few.filter(bool), max_size=3).map(tuple)),
        stop_token_ids=draw(few),
        min_tokens=draw(st.sampled_from([0, 5, 60])),
    )


def state_of(params: SamplingParams, prompt: list[int], generated: list[int]) -> SampleState:
    """As it comes to be: a token after the other."""
    state = SampleState.of(params, 0, prompt=prompt)
    for token in generated:
        state.append(token)
    return state


def some_logits(rows: int) -> Floats:
    return 3 * np.random.default_rng(rows).standard_normal((rows, VOCAB)).astype(np.float32)


def log_softmax(logits: Floats) -> Floats:
    totals = np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    logprobs: Floats = logits - totals.astype(np.float32)
    return logprobs


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(settings_of_rows(), histories, histories), min_size=1, max_size=4))
def test_processed_rows_are_as_defined_and_then_as_before(
    rows: list[tuple[SamplingParams, list[int], list[int]]],
) -> None:
    logits = some_logits(len(rows))
    logprobs = log_softmax(logits)
    before = logprobs.copy()
    states = [state_of(*row) for row in rows]
    with processed(logprobs, states, lambda: logits):
        inside = logprobs.astype(np.float64)
    assert np.array_equal(logprobs, before)
    for changed, own, row in zip(inside, logits, rows, strict=True):
        exact = exact_distribution(own, *row)
        assert np.array_equal(np.isneginf(changed), exact == 0)
        if exact.any():
            found = np.exp(changed - changed.max())
            assert found / found.sum() == pytest.approx(exact, rel=1e-4)


def test_rows_are_put_back_when_the_draw_fails() -> None:
    params = SamplingParams(
        logit_bias={3: 1.0}, suppressed_token_ids=(4,), allowed_token_ids=(3, 4)
    )
    logprobs = log_softmax(some_logits(2))
    before = logprobs.copy()
    states = [state_of(params, [], []), state_of(SamplingParams(), [], [])]
    with pytest.raises(MemoryError), processed(logprobs, states, lambda: logprobs):
        raise MemoryError
    assert np.array_equal(logprobs, before)


def test_logits_are_asked_only_where_signs_matter() -> None:
    logits, asked = some_logits(3), []

    def logits_of() -> Floats:
        asked.append(True)
        return logits

    plain, signed = SamplingParams(presence_penalty=1), SamplingParams(repetition_penalty=2)
    with processed(log_softmax(logits), [state_of(plain, [1], [2])] * 3, logits_of):
        pass
    states = [state_of(params, [1], [2]) for params in (signed, plain, signed)]
    with processed(log_softmax(logits), states, logits_of):
        pass
    assert asked == [True]


def test_a_batch_is_processed_by_what_its_rows_have_generated_by_now() -> None:
    params = SamplingParams(presence_penalty=1.0, min_tokens=2, stop_token_ids=(9,))
    logits = some_logits(2)
    logprobs = log_softmax(logits)
    states = [state_of(params, [], [3]), state_of(params, [], [])]
    batch = LogitsProcessors(states, VOCAB)
    for token in (7, 7, 8):
        with batch.applied(logprobs, lambda: logits):
            inside = logprobs.copy()
        with processed(logprobs, states, lambda: logits):
            assert np.array_equal(inside, logprobs)
        assert np.isneginf(inside[:, 9]).tolist() == [len(s.generated) < 2 for s in states]
        for state in states:
            state.append(token)


@given(history=histories, params=settings_of_rows())
def test_what_only_lowers_raises_nothing(history: list[int], params: SamplingParams) -> None:
    state = state_of(params, history, history)
    logits = some_logits(1)
    logprobs = log_softmax(logits)
    before = logprobs.copy()
    with processed(logprobs, [state], lambda: logits):
        assert not (state.rules.only_lowers and (logprobs > before).any())
