"""Draws from the whole vocabulary: nothing is sorted, however wide the nucleus.

top_p by rejection: a token is drawn from all and taken if the tokens before it, in descending
order of probability, have less than top_p of the mass; otherwise the next draw is among those
before it, which hold the nucleus. (Xing et al. 2025, Sorting-Free GPU Kernels for LLM
Sampling, do so in FlashInfer.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.random_numbers import uniforms
from service.engine.row_settings import RowSettings
from service.engine.typical import typical_tokens
from service.engine.weights import Arena, Ids, Weights


def draw_from_all(
    weights: Weights,
    settings: RowSettings,
    positions: NDArray[np.uint64],
    vocab: int,
    arena: Arena,
) -> Ids:
    """A token for each row, (R,), by min_p, typical_p and top_p; `weights` are changed."""
    _truncate(weights, settings, vocab)
    limits = settings.top_p * weights.totals
    ids = weights.draw(uniforms(settings.keys, positions))
    open_rows = np.flatnonzero(settings.top_p < 1)
    weights, attempt = weights.rows(open_rows), 0
    while len(open_rows):
        before = weights.before(ids[open_rows], arena)
        outside = before.totals >= limits[open_rows]
        outside &= before.totals > 0
        rejected = np.flatnonzero(outside)
        open_rows, attempt = open_rows[rejected], attempt + 1
        weights = Weights(before.blocks[rejected], before.sums[rejected])
        keys = settings.keys[open_rows]
        ids[open_rows] = weights.draw(uniforms(keys, positions[open_rows], attempt))
    return ids


def _truncate(weights: Weights, settings: RowSettings, vocab: int) -> None:
    """Apply min_p and typical_p."""
    rows = np.flatnonzero(settings.min_p > 0)
    if len(rows):
        own = weights.of_vocabulary(rows, vocab)
        floors = settings.min_p[rows] * own.max(axis=1)
        weights.keep(rows, own >= floors[:, None])
    rows = np.flatnonzero(settings.typical_p < 1)
    if len(rows):
        own = weights.of_vocabulary(rows, vocab)
        mask = typical_tokens(own.astype(np.float64), settings.typical_p[rows])
        weights.keep(rows, mask)
