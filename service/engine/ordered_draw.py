"""Draws from the most probable tokens, in descending order.

Sums run down from the largest, so they do not depend on how many candidates there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.candidates import Candidates
from service.engine.random_numbers import uniforms
from service.engine.row_settings import RowSettings
from service.engine.typical import typical_tokens
from service.engine.weights import Doubles, Ids


def draw_from_best(
    best: Candidates,
    settings: RowSettings,
    positions: NDArray[np.uint64],
    log_masses: Doubles,
    vocab: int,
) -> tuple[Ids, NDArray[np.bool_]]:
    """A token for each row, (R,), and where the candidates (R, C) sufficed to draw it.

    log_masses: where top_p alone truncates, ln of the sum of exp(value / temperature) over the
    whole vocabulary; anything elsewhere.
    """
    largest = best.values[:, :1].astype(np.float64)
    if np.isneginf(largest[:, 0]).any():  # nothing is left at all
        largest[np.isneginf(largest)] = 0
    scaled = (best.values - largest) * settings.inverse[:, None]
    weights = np.exp(scaled)
    count = best.values.shape[1]
    complete = (settings.top_k <= count) | (best.values[:, -1] == -np.inf) | (count == vocab)
    if settings.top_k.min() < count:
        weights[np.arange(count) >= settings.top_k[:, None]] = 0
    if settings.min_p.max() > 0:
        with np.errstate(divide="ignore"):
            outside = scaled < np.log(settings.min_p)[:, None]
        weights[outside] = 0
        complete |= outside[:, -1]
    if settings.typical_p.min() < 1:
        rows = np.flatnonzero(settings.typical_p < 1)
        weights[rows] *= typical_tokens(weights[rows], settings.typical_p[rows])
    ends = np.cumsum(weights, axis=1)
    totals = ends[:, -1]
    if settings.top_p.min() < 1:
        masses = np.exp(log_masses - largest[:, 0] * settings.inverse)
        limits = settings.top_p * np.where(settings.only_top_p, masses, totals)
        complete |= settings.only_top_p & (totals >= limits)
        size = (ends < limits[:, None]).sum(axis=1)
        totals = ends[np.arange(len(ends)), np.minimum(size, count - 1)]
    # Rounding must not carry a target to the very end, past the last token.
    targets = np.minimum(uniforms(settings.keys, positions) * totals, np.nextafter(totals, 0))
    places = np.minimum((ends <= targets[:, None]).sum(axis=1), count - 1)
    return best.ids[np.arange(len(places)), places], complete
