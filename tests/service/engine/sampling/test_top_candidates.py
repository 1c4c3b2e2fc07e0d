"""The largest without sorting, against a sort of everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.engine.request import Floats
from service.engine.sampling.top_candidates import BLOCK, block_maxima, top_candidates


@st.composite
def values_with_ties(draw: st.DrawFn) -> Floats:
    """(R, V) around the sizes where blocks begin to be used, with few or many distinct values."""
    rows, vocab = (
        draw(st.integers(1, 3)),
        draw(st.sampled_from([1, 7, 1023, 1024, 1500, 4096, 8192])),
    )
    levels = draw(st.sampled_from([1, 2, 50, 1_000_000]))
    seed = draw(st.integers(0, 1000))
    values = np.random.default_rng(seed).integers(-levels, 1, (rows, vocab)).astype(np.float32)
    if draw(st.booleans()):  # what a ban leaves
        values[np.random.default_rng(seed + 1).random(values.shape) < 0.5] = -np.inf
    return values


@settings(max_examples=60)
@given(values=values_with_ties(), data=st.data())
def test_the_largest_are_those_of_a_full_sort(values: Floats, data: st.DataObject) -> None:
    """To the last id: of equal values the lower ids come first."""
    vocab = values.shape[1]
    count = data.draw(st.sampled_from(sorted({1, min(5, vocab), min(64, vocab), vocab})))
    found = top_candidates(values, count)
    order = np.argsort(-values, axis=1, kind="stable")[:, :count]
    assert np.array_equal(found.values, np.take_along_axis(values, order, axis=1))
    possible = ~np.isneginf(found.values)
    assert np.array_equal(found.ids[possible], order[possible])


@given(hnp.arrays(np.float32, (2, 40), elements=st.floats(-9, 0, width=32)))
def test_a_rows_largest_do_not_depend_on_its_neighbours(values: Floats) -> None:
    both, alone = top_candidates(values, 5), top_candidates(values[:1], 5)
    assert np.array_equal(both.ids[:1], alone.ids)


@pytest.mark.parametrize("vocab", [1200, 8192])
def test_neighbours_change_nothing_where_blocks_are_used(vocab: int) -> None:
    values = np.random.default_rng(1).standard_normal((8, vocab)).astype(np.float32)
    together = top_candidates(values, 7)
    for row in range(8):
        alone = top_candidates(values[[row]], 7)
        assert np.array_equal(together.ids[[row]], alone.ids)
        assert np.array_equal(together.values[[row]], alone.values)


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 64, 1000, 4096])
def test_each_block_gives_its_largest(vocab: int) -> None:
    values = np.random.default_rng(vocab).standard_normal((3, vocab)).astype(np.float32)
    values[1, : vocab // 2] = -np.inf
    slices = [values[:, k : k + BLOCK].max(axis=1) for k in range(0, vocab, BLOCK)]
    assert np.array_equal(block_maxima(values), np.stack(slices, axis=1))
