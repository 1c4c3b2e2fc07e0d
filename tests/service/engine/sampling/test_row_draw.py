"""Drawing for one row: the token and the alternatives of drawing for many rows, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.request import Floats, SamplingParams, TokenChoices
from service.engine.sampling import sampler
from service.engine.sampling.draw import stream_key
from service.engine.sampling.logits_processors import SampleState, SamplingRules
from service.engine.sampling.row_draw import RowBuffer, RowDraw
from service.engine.sampling.sampler import Sampled, Scratch, sample
from service.engine.sampling.softmax_sums import Arena, Sums

VOCAB = 8192


def some_rows(rows: int, seed: int, spread: float) -> tuple[Floats, Floats]:
    """Log-probabilities and logits, (rows, VOCAB)."""
    logits = np.random.default_rng(seed).normal(0, spread, (rows, VOCAB)).astype(np.float32)
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32), logits


ids = st.integers(0, VOCAB - 1)
some_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 0.65, 1.0, 1.0, 2.5]),
    top_k=st.sampled_from([0, 0, 1, 7, 50, 64]),
    top_p=st.sampled_from([1.0, 1.0, 0.9, 0.5, 1e-6]),
    min_p=st.sampled_from([0.0, 0.0, 0.05]),
    repetition_penalty=st.sampled_from([1.0, 1.0, 1.3, 0.7]),
    presence_penalty=st.sampled_from([0.0, 0.0, 0.5]),
    frequency_penalty=st.sampled_from([0.0, 0.0, -0.4]),
    logit_bias=st.just({}) | st.dictionaries(ids, st.floats(-9, 9, width=32), max_size=3),
    suppressed_token_ids=st.just(()) | st.just(tuple(range(7))) | st.tuples(ids, ids),
    bad_words=st.just(()) | st.tuples(st.tuples(ids)),
    stop_token_ids=st.just(()) | st.tuples(ids),
    min_tokens=st.sampled_from([0, 5]),
    logprobs=st.sampled_from([None, 0, 1, 5]),
)


def states_of(params: list[SamplingParams], history: list[int]) -> list[SampleState]:
    return [
        SampleState.of(own, stream_key(k), prompt=history, generated=history[:3])
        for k, own in enumerate(params)
    ]


@settings(max_examples=60)
@given(
    params=st.lists(some_params, min_size=1, max_size=4),
    history=st.lists(ids, max_size=6),
    seed=st.integers(0, 50),
    spread=st.sampled_from([0.1, 1.0, 4.0]),
)
def test_a_few_rows_are_drawn_to_the_bits_of_many(
    params: list[SamplingParams], history: list[int], seed: int, spread: float
) -> None:
    logprobs, logits = some_rows(len(params), seed, spread)
    one_by_one = sample(logprobs, states_of(params, history), lambda: logits, Scratch())
    together = sampler._sample_many(logprobs, states_of(params, history), lambda: logits, Scratch())
    assert comparable(one_by_one) == comparable(together)


def comparable(drawn: Sampled) -> list[object]:
    """Everything to the last bit; of rows whose settings exclude all, that they do."""
    return [
        (token, None if token is None else logprob.hex(), top)
        for token, logprob, top in zip(drawn.ids, drawn.logprobs, drawn.tops, strict=True)
    ]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(typical_p=0.9),
        SamplingParams(guides=(TokenChoices(((3,),)),)),
        SamplingParams(top_k=2000),
        SamplingParams(logprobs=1000),
    ],
    ids=["typical_p", "guides", "a wide top_k", "many alternatives"],
)
def test_what_is_rare_is_left_to_the_machinery_for_many(params: SamplingParams) -> None:
    assert not RowDraw(SamplingRules(params), VOCAB).is_possible


@pytest.mark.parametrize("vocab", [61, 200, 8191])
def test_so_are_vocabularies_that_are_no_whole_blocks(vocab: int) -> None:
    assert not RowDraw(SamplingRules(SamplingParams()), vocab).is_possible
    assert RowDraw(SamplingRules(SamplingParams()), VOCAB).is_possible


def test_a_row_whose_mass_all_but_vanishes_is_given_back() -> None:
    """What is left of it after such a bias needs a shift before it is raised."""
    params = SamplingParams(logit_bias=dict.fromkeys(range(VOCAB), -300.0))
    logprobs, logits = some_rows(1, 0, 1.0)
    (state,) = states_of([params], [])
    buffer = RowBuffer(VOCAB)
    draw = RowDraw(state.rules, VOCAB)
    assert draw.draw(logprobs[0], state, lambda: logits[0], buffer) is None
    assert sample(logprobs, [state], lambda: logits).ids[0] is not None


def test_the_log_probabilities_are_read_and_not_written() -> None:
    params = SamplingParams(suppressed_token_ids=tuple(range(4000)), logprobs=3, top_p=0.5)
    logprobs, logits = some_rows(1, 1, 1.0)
    logprobs.setflags(write=False)
    (state,) = states_of([params], [5, 6])
    draw = RowDraw(state.rules, VOCAB)
    token = draw.draw(logprobs[0], state, lambda: logits[0], RowBuffer(VOCAB))
    assert token is not None
    assert token >= 4000
    assert draw.tops(logprobs[0])[0][0] == logprobs[0].argmax()


@pytest.mark.parametrize("temperature", [1.0, 0.65])
def test_block_sums_are_those_of_many_rows(temperature: float) -> None:
    logprobs, _ = some_rows(5, 2, 2.0)
    inverse = np.float32(1 / temperature)
    buffer = RowBuffer(VOCAB)
    expected = Sums.of(logprobs, np.full(5, float(inverse)), Arena()).sums
    for row, sums in zip(logprobs, expected, strict=True):
        buffer.row[:] = row
        assert np.array_equal(buffer.block_sums(inverse), sums)
