"""The largest values of rows, in order, without sorting the rows.

Maxima of blocks of 32 neighbours give a threshold: the k-th largest maximum is a lower bound for
the k-th largest value, and blocks whose maximum lies below it hold none of the top k. The other
blocks are few: their values from the threshold on are sorted. Rows are independent of each other.
ONNX Runtime takes the maxima at the speed of memory; numpy reduces short runs ten times
more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.engine.request import Floats
from service.engine.runners.onnx_session import block_reduction, declare, new_session, serialize

BLOCK = 32


def block_maxima(values: Floats) -> Floats:
    """Of (R, V): (R, V / 32 rounded up); the last block of a row may be shorter."""
    vocab = values.shape[1]
    whole = vocab // BLOCK * BLOCK
    tail: Floats | None = values[:, whole:].max(axis=1, keepdims=True) if whole < vocab else None
    if not whole:
        highest: Floats = values.max(axis=1, keepdims=True)
        return highest
    blocks = np.ascontiguousarray(values[:, :whole])
    maxima: Floats = _session().run(None, {"values": blocks})[0]
    return maxima if tail is None else np.concatenate([maxima, tail], axis=1)


@cache
def _session() -> ort.InferenceSession:
    """values (R, V) -> maxima (R, V / 32): made once, since making it takes a millisecond."""
    nodes, constants = block_reduction("ReduceMax", "values", BLOCK, "maxima")
    inputs, outputs = [declare("values", ["R", "V"])], [declare("maxima", ["R", "B"])]
    return new_session(serialize(nodes, inputs, outputs, constants))


LEAST = float(np.finfo(np.float32).min)  # what was banned (-inf) is no candidate
_SHIFT = BLOCK.bit_length() - 1
_NOTHING = np.int64(0x7F800000 << 32)  # key of -inf, id 0


@dataclass(frozen=True)
class Candidates:
    """The largest values of each row in descending order (ties: lower id first), (R, C) each.

    Rows with less than C values that are not -inf end in -inf.
    """

    values: Floats
    ids: NDArray[np.int64]


def top_candidates(values: Floats, count: int, maxima: Floats | None = None) -> Candidates:
    """The `count` largest of each row of (R, V); count <= V.

    maxima: `block_maxima` of the values, if they are at hand.
    """
    vocab = values.shape[1]
    assert 0 < count <= vocab
    if not are_few(count, vocab):
        keys = _keys(values, np.arange(vocab))
        return _unpacked(_smallest(keys, count))
    if maxima is None:
        maxima = block_maxima(values)
    thresholds = nth_largest(maxima, count)
    return collected(values, maxima >= thresholds[:, None], thresholds, count)


def are_few(count: int, vocab: int) -> bool:
    """Whether so many candidates are found faster by blocks than by sorting everything."""
    return 2 * count * BLOCK <= vocab


def nth_largest(maxima: Floats, count: int) -> Floats:
    """A threshold for each row, (R,), that at least `count` of its values reach, or all of them."""
    ordered = np.sort(maxima, axis=1)
    thresholds: Floats = np.maximum(ordered[:, -count], LEAST)
    return thresholds


def collected(
    values: Floats, hits: NDArray[np.bool_], thresholds: Floats, count: int
) -> Candidates:
    """The `count` largest values from the threshold on in the blocks that are hit, (R, blocks)."""
    rows = len(values)
    blocks = np.flatnonzero(hits)
    row_of = blocks // hits.shape[1]
    found = _blocks(values, blocks, row_of)
    places = _true_places(found >= thresholds[row_of][:, None])
    block_of = places >> _SHIFT
    row = row_of[block_of]
    ids = ((blocks - row_of * hits.shape[1]) << _SHIFT)[block_of] + (places & (BLOCK - 1))
    ends = np.searchsorted(row, np.arange(rows + 1))
    width = max(int(np.diff(ends).max()), count)
    keys = np.full(rows * width, _NOTHING)
    columns = np.arange(len(row)) + (np.arange(rows) * width - ends[:-1])[row]
    keys[columns] = _keys(found.ravel()[places], ids)
    return _unpacked(_smallest(keys.reshape(rows, width), count))


def _blocks(values: Floats, blocks: NDArray[np.int64], row_of: NDArray[np.int64]) -> Floats:
    """The values of some blocks (B, BLOCK), numbered through all rows; short ones end in -inf."""
    vocab = values.shape[1]
    if vocab % BLOCK == 0:
        whole: Floats = values.reshape(-1, BLOCK).take(blocks, axis=0)
        return whole
    per_row = -(-vocab // BLOCK)
    ids = ((blocks - row_of * per_row) * BLOCK)[:, None] + np.arange(BLOCK)
    found: Floats = values.ravel().take(ids + (row_of * vocab)[:, None], mode="clip")
    found[ids >= vocab] = -np.inf
    return found


def _true_places(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`np.flatnonzero` of a mask (B, BLOCK) where few are true: eight at a time first."""
    eights = np.flatnonzero(mask.view(np.uint64).ravel() != 0)
    inner = np.flatnonzero(mask.reshape(-1, 8).take(eights, axis=0))
    places: NDArray[np.int64] = (eights << 3)[inner >> 3] + (inner & 7)
    return places


def _keys(values: Floats, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Value and id in one integer; the smaller, the better. Sorting indices takes longer."""
    bits = np.ascontiguousarray(values).view(np.int32)
    keys: NDArray[np.int64] = (~_by_magnitude(bits)).astype(np.int64) << 32
    keys |= ids
    return keys


def _unpacked(keys: NDArray[np.int64]) -> Candidates:
    bits = _by_magnitude(~(keys >> 32).astype(np.int32))
    return Candidates(bits.view(np.float32), keys & 0xFFFFFFFF)


def _by_magnitude(bits: NDArray[np.int32]) -> NDArray[np.int32]:
    """Bits of float32 as signed integers of the same order, and back again."""
    ordered: NDArray[np.int32] = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    return ordered


def _smallest(keys: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    keys.sort(axis=1)
    return keys[:, :count]
