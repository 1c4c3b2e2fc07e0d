"""Draws by the running sum of exp(value / temperature), against numpy's plain one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import Floats
from service.engine.sampling.softmax_sums import Arena, Exponentials, Sums

VOCABULARIES = (3, 127, 128, 200, 512)


def some_logprobs(rows: int, vocab: int, seed: int) -> Floats:
    values = np.random.default_rng(seed).normal(0, 3, (rows, vocab)).astype(np.float32)
    result: Floats = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    return result


@given(
    vocab=st.sampled_from(VOCABULARIES),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    number=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 99),
)
def test_a_number_picks_the_token_in_whose_share_it_lies(
    vocab: int, temperature: float, number: float, seed: int
) -> None:
    values = some_logprobs(2, vocab, seed)
    inverse, arena = np.full(2, 1 / temperature), Arena()
    sums = Sums.of(values, inverse, arena)
    exact = np.exp(values.astype(np.float64) / temperature)
    assert np.allclose(sums.log_totals(), np.log(exact.sum(axis=1)), atol=1e-4)
    ends = np.cumsum(exact, axis=1) / exact.sum(axis=1, keepdims=True)
    begins = np.concatenate([np.zeros((2, 1)), ends[:, :-1]], axis=1)
    exponentials = Exponentials.of(values, sums, arena)
    for ids in (sums.draw(values, np.full(2, number)), exponentials.draw(np.full(2, number))):
        for row, token in enumerate(ids):
            assert begins[row, token] - 1e-5 <= number <= ends[row, token] + 1e-5


@pytest.mark.parametrize("vocab", VOCABULARIES)
@pytest.mark.parametrize("shift", [-300.0, 500.0])
def test_rows_that_vanish_or_overflow_are_moved_to_where_they_do_not(
    vocab: int, shift: float
) -> None:
    values, arena = some_logprobs(3, vocab, 1), Arena()
    moved = values.copy()
    moved[1] += np.float32(shift)
    numbers, inverse = np.full(3, 0.37), np.ones(3)
    plain = Sums.of(values, inverse, arena)
    found = Sums.of(moved, inverse, arena)
    assert found.log_totals()[1] == pytest.approx(plain.log_totals()[1] + shift, rel=1e-4)
    near = np.flatnonzero(moved[1] >= moved[1].max())
    assert (
        found.draw(moved, numbers)[[0, 2]].tolist() == plain.draw(values, numbers)[[0, 2]].tolist()
    )
    assert len(near)
    assert moved[1, found.draw(moved, numbers)[1]] > moved[1].max() - 20


@given(vocab=st.sampled_from(VOCABULARIES), seed=st.integers(0, 99))
def test_before_a_token_lies_what_weighs_more_or_is_tied_with_a_lower_id(
    vocab: int, seed: int
) -> None:
    values = np.round(some_logprobs(2, vocab, seed))  # many ties
    arena = Arena()
    exponentials = Exponentials.of(values, Sums.of(values, np.ones(2), arena), arena)
    ids = np.random.default_rng(seed).integers(vocab, size=2)
    before = exponentials.before(ids, arena).of_vocabulary(np.arange(2), vocab)
    for row, token in enumerate(ids):
        order = np.lexsort((np.arange(vocab), -values[row]))
        expected = set(order[: int(np.flatnonzero(order == token)[0])].tolist())
        assert set(np.flatnonzero(before[row]).tolist()) == expected
