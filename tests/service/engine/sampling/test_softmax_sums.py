"""Draws by the running sum of exp(value / temperature), against numpy's plain one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import Floats
from service.engine.sampling.softmax_sums import SUM_BLOCK, Arena, Exponentials, Sums, block_sums

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


@pytest.mark.parametrize("temperature", [1.0, 0.4, 3.0])
def test_sums_are_those_of_the_definition(temperature: float) -> None:
    values = -9 * np.random.default_rng(0).random((5, 1024)).astype(np.float32)
    values[2, 100:700] = -np.inf
    sums = block_sums(values, np.full(5, 1 / temperature))
    exact = np.exp(values.astype(np.float64) / temperature).reshape(5, -1, SUM_BLOCK).sum(axis=2)
    assert sums == pytest.approx(exact, rel=1e-5)


def test_a_rows_sums_do_not_depend_on_its_place_or_its_neighbours() -> None:
    draw = np.random.default_rng(1)
    values = -9 * draw.random((70, 8192)).astype(np.float32)
    inverse = draw.choice([1.0, 0.5, 1.7], 70)
    together = block_sums(values, inverse)
    for size in (1, 3, 17):
        for start in range(0, 70 - size, 11):
            rows = slice(start, start + size)
            shifted = np.empty(size * 8192 + 5, np.float32)[5:].reshape(size, 8192)
            shifted[:] = values[rows]  # at another place in memory, on no boundary
            assert np.array_equal(block_sums(shifted, inverse[rows]), together[rows])
