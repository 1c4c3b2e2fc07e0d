"""Truncation of a distribution without sorting the vocabulary.

A distribution over V tokens is first cut to a few candidates that surely contain the tokens that
survive; filters then work on these. Blocks of the vocabulary give the cut: the k-th largest block
maximum is a lower bound for the k-th largest value, so whatever lies below it is not among the top
k. Rows are independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats

_BLOCKS = 256


@dataclass(frozen=True)
class Candidates:
    """For each row the largest values in descending order (ties: lower id first).

    values, ids: (R, C); short rows are padded with -inf.
    """

    values: Floats
    ids: NDArray[np.int64]


def top_candidates(values: Floats, count: int) -> Candidates:
    """At least the `count` largest of each row of (R, V); count <= V."""
    rows, vocab = values.shape
    if 2 * count >= vocab or vocab < 2 * _BLOCKS:
        order = np.argsort(-values, axis=1, kind="stable")[:, :count].astype(np.int64)
        return Candidates(np.take_along_axis(values, order, axis=1), order)
    thresholds = _lower_bounds(values, count)
    flat = np.flatnonzero((values >= thresholds[:, None]).ravel())
    row_of, ids = np.divmod(flat, vocab)
    counts = np.bincount(row_of, minlength=rows)
    width = int(counts.max())
    column = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.full((rows, width), -np.inf, np.float32)
    padded_ids = np.zeros((rows, width), np.int64)
    padded[row_of, column] = values[row_of, ids]
    padded_ids[row_of, column] = ids
    order = np.argsort(-padded, axis=1, kind="stable")
    return Candidates(
        np.take_along_axis(padded, order, axis=1), np.take_along_axis(padded_ids, order, axis=1)
    )


def _lower_bounds(values: Floats, count: int) -> Floats:
    """For each row a value that at least `count` of its entries reach."""
    rows, vocab = values.shape
    blocks = max(_BLOCKS, 2 * count)
    depth = vocab // blocks
    # Block b holds every blocks-th entry: the maximum then runs over contiguous vectors.
    maxima = values[:, : depth * blocks].reshape(rows, depth, blocks).max(axis=1)
    bounds: Floats = np.partition(maxima, blocks - count, axis=1)[:, blocks - count]
    return bounds


def keep_top_k(values: Floats, top_k: NDArray[np.int64]) -> None:
    """Candidates past each row's k become -inf; 0 keeps all. Ties are cut by order."""
    limits = np.where(top_k > 0, top_k, values.shape[1])
    values[np.arange(values.shape[1]) >= limits[:, None]] = -np.inf


def keep_min_p(values: Floats, min_p: NDArray[np.float64]) -> None:
    """Tokens less than min_p times as probable as the best become -inf; 0 keeps all."""
    with np.errstate(divide="ignore"):
        floor = values[:, :1] + np.log(min_p)[:, None]
    values[values < floor] = -np.inf


def keep_top_p(probabilities: NDArray[np.float64], top_p: NDArray[np.float64]) -> None:
    """The smallest leading set whose mass reaches top_p stays; the rest becomes 0.

    probabilities: (R, C), descending, of the whole row: where the candidates' mass falls short of
    top_p, all of them stay, and the caller must have made sure that there are no more.
    """
    before = np.cumsum(probabilities, axis=1) - probabilities
    drop = before >= top_p[:, None]
    drop[:, 0] = False
    probabilities[drop] = 0


def keep_typical(values: Floats, typical_p: float) -> None:
    """Locally typical sampling on one row (V,) of ln P, normalised (Meister et al. 2023).

    The tokens whose information is nearest to the entropy stay, up to the mass; the rest -> -inf.
    """
    probabilities = np.exp(values.astype(np.float64))
    probabilities /= probabilities.sum()
    information = -np.log(
        probabilities, out=np.full_like(probabilities, -np.inf), where=probabilities > 0
    )
    finite = probabilities > 0
    entropy = float((probabilities[finite] * information[finite]).sum())
    distance = np.where(finite, np.abs(information - entropy), np.inf)
    order = np.argsort(distance, kind="stable")
    before = np.cumsum(probabilities[order]) - probabilities[order]
    drop = order[before >= typical_p]
    values[drop[drop != order[0]]] = -np.inf
