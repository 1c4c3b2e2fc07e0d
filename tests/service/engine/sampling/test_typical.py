"""Typical sets against their definition."""

from __future__ import annotations

import numpy as np
import pytest

from service.engine.sampling.draw import typical_tokens


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
