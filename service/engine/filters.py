"""Truncation of a distribution without sorting the vocabulary.

A distribution over V tokens is first cut to a few candidates that surely contain the tokens that
survive; filters then work on these. Blocks of the vocabulary give the cut: the k-th largest block
maximum is a lower bound for the k-th largest value, so whatever lies below it is not among the top
k. Candidates stay in order of their ids, so that sums over the survivors do not depend on how many
candidates there were. Rows are independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats

_BLOCKS = 256


@dataclass(frozen=True)
class Candidates:
    """Of each row at least the largest values asked for, by ascending id; never -inf, if few.

    values, ids: (R, C); short rows are padded with -inf. whole: these are all of the values.
    """

    values: Floats
    ids: NDArray[np.int64]
    whole: bool = False

    def rows(self, chosen: Sequence[int]) -> Candidates:
        """Those of some rows."""
        return Candidates(self.values[chosen], self.ids[chosen], self.whole)

    def with_values_of(self, values: Floats) -> Candidates:
        """The same tokens with the values that they have in (R, V)."""
        now = np.take_along_axis(values, self.ids, axis=1)
        return Candidates(np.where(np.isneginf(self.values), self.values, now), self.ids)


def candidates(values: Floats, count: int) -> Candidates:
    """At least the `count` largest of each row of (R, V); count <= V."""
    vocab = values.shape[1]
    if 4 * count >= vocab or vocab < 4 * _BLOCKS:
        ids = np.broadcast_to(np.arange(vocab), values.shape)
        return Candidates(values, ids, whole=True)
    return _at_least(values, _lower_bounds(values, count), count)


def nucleus_candidates(
    values: Floats,
    temperatures: NDArray[np.float64],
    masses: NDArray[np.float64],
    top_p: NDArray[np.float64],
) -> Candidates:
    """All tokens that can be in the smallest set whose mass reaches top_p, and not many more.

    Tokens lighter than (1 - top_p) of the mass divided by V have less than 1 - top_p of it in all,
    so the others hold more than top_p. masses: of exp((value - largest) / temperature).
    """
    vocab = values.shape[1]
    with np.errstate(divide="ignore"):
        lightest = np.log((1 - top_p) * masses / vocab) * temperatures
    # A little lower, so that rounding cannot shut out a token on the border.
    thresholds = values.max(axis=1) + (lightest * (1 + 1e-6) - 1e-3).astype(np.float32)
    return _at_least(values, thresholds, 1)


def _at_least(values: Floats, thresholds: Floats, width: int) -> Candidates:
    """Each row's values from its threshold on; at least `width` columns."""
    rows, vocab = values.shape
    # What was banned is no candidate: a row with little left would bring its whole length.
    thresholds = np.maximum(thresholds, np.finfo(np.float32).min)
    flat = np.flatnonzero((values >= thresholds[:, None]).ravel())
    row_of, ids = np.divmod(flat, vocab)
    counts = np.bincount(row_of, minlength=rows)
    column = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.full((rows, max(int(counts.max()), width)), -np.inf, np.float32)
    padded_ids = np.zeros(padded.shape, np.int64)
    padded[row_of, column] = values.ravel()[flat]
    padded_ids[row_of, column] = ids
    return Candidates(padded, padded_ids)


def _lower_bounds(values: Floats, count: int) -> Floats:
    """For each row a value that at least `count` of its entries reach."""
    rows, vocab = values.shape
    blocks = max(_BLOCKS, 2 * count)
    depth = vocab // blocks
    # Block b holds every blocks-th entry: the maximum then runs over contiguous vectors.
    maxima = values[:, : depth * blocks].reshape(rows, depth, blocks).max(axis=1)
    bounds: Floats = np.partition(maxima, blocks - count, axis=1)[:, blocks - count]
    return bounds


def top_candidates(values: Floats, count: int) -> Candidates:
    """Just the `count` largest of each row, in descending order (ties: lower id first)."""
    return best_of(candidates(values, count), count)


def best_of(found: Candidates, count: int) -> Candidates:
    """The `count` largest of candidates, in descending order (ties: lower id first).

    Value and id are packed into one integer that sorts that way: sorting indices takes longer.
    """
    bits = np.ascontiguousarray(found.values).view(np.int32).astype(np.int64)
    keys = (-_by_magnitude(bits) << 32) + found.ids
    if count < keys.shape[1]:
        keys = np.partition(keys, count - 1, axis=1)[:, :count]
    keys = np.sort(keys, axis=1)
    ids = keys & 0xFFFFFFFF
    values = _by_magnitude(-((keys - ids) >> 32)).astype(np.int32).view(np.float32)
    return Candidates(values, ids)


def _by_magnitude(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of float32 as signed integers of the same order, and back again."""
    ordered: NDArray[np.int64] = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return ordered


def descending(values: Floats) -> Floats:
    """Each row's values, largest first; the order of equal ones does not matter."""
    ordered: Floats = np.sort(values, axis=1)[:, ::-1]
    return ordered


def num_min_p(ordered: Floats, min_p: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many are at least min_p times as probable as the best; `ordered`: shifted to 0."""
    with np.errstate(divide="ignore"):
        floors = np.log(min_p)
    count: NDArray[np.int64] = np.count_nonzero(ordered >= floors[:, None], axis=1)
    return count


def num_top_p(
    ordered_weights: NDArray[np.float64], masses: NDArray[np.float64], top_p: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Size of the smallest leading set whose share of `masses` reaches top_p, at least 1."""
    before = np.cumsum(ordered_weights, axis=1) - ordered_weights
    inside = (before < (top_p * masses)[:, None]) & (ordered_weights > 0)
    count: NDArray[np.int64] = np.maximum(np.count_nonzero(inside, axis=1), 1)
    return count


def keep_largest(values: Floats, ordered: Floats, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of each row's `counts` largest; of equal ones those with lower ids stay."""
    limits = ordered[np.arange(len(values)), counts - 1][:, None]
    keep = values > limits
    missing = counts - np.count_nonzero(keep, axis=1)
    equal = values == limits
    if (np.count_nonzero(equal, axis=1) != missing).any():
        equal &= np.cumsum(equal, axis=1) <= missing[:, None]
    keep |= equal
    return keep


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
