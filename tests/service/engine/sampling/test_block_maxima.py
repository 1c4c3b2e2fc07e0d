"""Against a maximum of each slice."""

from __future__ import annotations

import numpy as np
import pytest

from service.engine.sampling.top_candidates import BLOCK, block_maxima


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 64, 1000, 4096])
def test_each_block_gives_its_largest(vocab: int) -> None:
    values = np.random.default_rng(vocab).standard_normal((3, vocab)).astype(np.float32)
    values[1, : vocab // 2] = -np.inf
    slices = [values[:, k : k + BLOCK].max(axis=1) for k in range(0, vocab, BLOCK)]
    assert np.array_equal(block_maxima(values), np.stack(slices, axis=1))
