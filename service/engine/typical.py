"""Locally typical sampling (Meister et al. 2023)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def typical_tokens(weights: Doubles, typical_p: Doubles) -> NDArray[np.bool_]:
    """Which tokens stay, (R, C): those whose information is nearest to the entropy, up to the mass.

    weights: (R, C), of any sum; typical_p: (R,). Of equally near tokens the leftmost stay.
    """
    probabilities = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    possible = probabilities > 0
    information = -np.log(probabilities, out=np.zeros_like(probabilities), where=possible)
    entropy = (probabilities * information).sum(axis=1, keepdims=True)
    distance = np.where(possible, np.abs(information - entropy), np.inf)
    order = np.argsort(distance, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    inside = np.cumsum(ordered, axis=1) - ordered < typical_p[:, None]
    inside[:, 0] = True
    keep = np.zeros(weights.shape, bool)
    np.put_along_axis(keep, order, inside, axis=1)
    keep &= possible
    return keep
