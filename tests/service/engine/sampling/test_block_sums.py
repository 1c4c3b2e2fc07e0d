"""Against numpy, and bit for bit the same wherever a row lies."""

from __future__ import annotations

import numpy as np
import pytest

from service.engine.sampling.softmax_sums import SUM_BLOCK, block_sums


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
