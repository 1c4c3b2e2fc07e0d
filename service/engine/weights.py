"""exp(value / temperature) over the vocabulary, and draws by the inverse of its running sum.

A row's sums run along the row in an order that does not depend on the other rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats

_BLOCK = 128
_AT_ONCE = 1 << 16  # values worked on together: they stay in a processor's second-level cache
_VANISHING, _HUGE = 1e-30, 1e30  # sums of weights between these keep float32's precision

Ids = NDArray[np.int64]
Doubles = NDArray[np.float64]


class Arena:
    """Large arrays used again and again, since fresh memory costs more than the sums in it."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, int], Floats] = {}

    def blocks(self, name: str, rows: int, vocab: int) -> Floats:
        """(rows, blocks, _BLOCK), whose places past the vocabulary are 0, the rest anything."""
        kept = self._arrays.get((name, vocab))
        if kept is None or len(kept) < rows:
            kept = np.zeros((rows, -(-vocab // _BLOCK), _BLOCK), np.float32)
            self._arrays[name, vocab] = kept
        return kept[:rows]


@dataclass(frozen=True, slots=True)
class Weights:
    """blocks: (R, blocks, _BLOCK); sums: of each block, (R, blocks).

    shifts: (R,), what was subtracted from a row's values before exp.
    """

    blocks: Floats
    sums: Doubles
    shifts: Floats

    @classmethod
    def of(cls, values: Floats, inverse: Doubles, arena: Arena) -> Weights:
        """values: (R, V); inverse: 1 / temperature, (R,). The result lies in the arena."""
        rows, vocab = values.shape
        blocks = arena.blocks("weights", rows, vocab)
        factors = None if (inverse == 1).all() else inverse.astype(np.float32)[:, None]
        sums = np.empty(blocks.shape[:2], np.float32)
        size = _rows_at_once(blocks)
        with np.errstate(over="ignore"):
            for start in range(0, rows, size):
                part = slice(start, start + size)
                weights = blocks[part].reshape(-1, blocks.shape[1] * _BLOCK)[:, :vocab]
                if factors is None:
                    np.exp(values[part], out=weights)
                else:
                    np.multiply(values[part], factors[part], out=weights)
                    np.exp(weights, out=weights)
                np.add.reduce(blocks[part], axis=2, out=sums[part])
        result = cls(blocks, sums.astype(np.float64), np.zeros(rows, np.float32))
        result._shift(values, inverse)
        return result

    def _shift(self, values: Floats, inverse: Doubles) -> None:
        """Put the largest weight at 1 in rows that would leave float32.

        Log-probabilities need no shift before exp, unless what bans, biases and a low temperature
        leave of a row all but vanishes or overflows.
        """
        totals = self.totals
        rows = np.flatnonzero((totals < _VANISHING) | (totals > _HUGE))
        if not len(rows):
            return
        largest = values[rows].max(axis=1)
        self.shifts[rows] = np.where(np.isneginf(largest), 0, largest)
        shifted = (values[rows] - self.shifts[rows, None]) * inverse[rows, None].astype(np.float32)
        flat = np.zeros((len(rows), self.blocks.shape[1] * _BLOCK), np.float32)
        flat[:, : values.shape[1]] = np.exp(shifted)
        self._replace(rows, flat.reshape(len(rows), -1, _BLOCK))

    def _replace(self, rows: Ids, blocks: Floats) -> None:
        self.blocks[rows] = blocks
        self.sums[rows] = blocks.sum(axis=2)

    @property
    def totals(self) -> Doubles:
        totals: Doubles = self.sums.sum(axis=1)
        return totals

    def log_totals(self, inverse: Doubles) -> Doubles:
        """ln of the sum of exp(value / temperature), (R,); very low where nothing is left."""
        floor = np.finfo(np.float64).tiny
        result: Doubles = np.log(np.maximum(self.totals, floor)) + self.shifts * inverse
        return result

    def rows(self, chosen: Ids) -> Weights:
        """Those of some rows; the same memory where these are all."""
        if len(chosen) == len(self.sums):
            return self
        return Weights(self.blocks[chosen], self.sums[chosen], self.shifts[chosen])

    def keep(self, rows: Ids, mask: NDArray[np.bool_]) -> None:
        """Set other weights of some rows to 0; mask: (len(rows), V)."""
        kept = np.zeros((len(rows), self.blocks.shape[1] * _BLOCK), bool)
        kept[:, : mask.shape[1]] = mask
        self._replace(rows, self.blocks[rows] * kept.reshape(len(rows), -1, _BLOCK))

    def of_vocabulary(self, rows: Ids, vocab: int) -> Floats:
        """Weights of some rows, (len(rows), V)."""
        return self.blocks[rows].reshape(len(rows), -1)[:, :vocab]

    def draw(self, uniforms: Doubles) -> Ids:
        """The token of each row in whose share of [0, 1), by ascending id, its number lies.

        0 where nothing has any weight.
        """
        ends = np.cumsum(self.sums, axis=1)
        # Rounding must not carry a target to the very end, past the last token.
        targets = np.minimum(uniforms * ends[:, -1], np.nextafter(ends[:, -1], 0))
        block = np.minimum((ends <= targets[:, None]).sum(axis=1), ends.shape[1] - 1)
        each = np.arange(len(ends))
        weights = self.blocks[each, block]
        targets -= ends[each, block] - self.sums[each, block]
        inner = np.cumsum(weights, axis=1, dtype=np.float64)
        last = _BLOCK - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
        ids: Ids = block * _BLOCK + np.minimum((inner <= targets[:, None]).sum(axis=1), last)
        ids[ends[:, -1] <= 0] = 0
        return ids

    def before(self, ids: Ids, arena: Arena) -> Weights:
        """What each row has before a token of it, by descending weight (ties: lower ids first).

        The result lies in the arena, where the next call overwrites it.
        """
        rows, count, _ = self.blocks.shape
        own = self.blocks.reshape(rows, -1)[np.arange(rows), ids]
        result = arena.blocks("before", rows, count * _BLOCK)
        sums = np.empty((rows, count), np.float32)
        size = _rows_at_once(self.blocks)
        for start in range(0, rows, size):
            part = slice(start, start + size)
            weights, limits = self.blocks[part], own[part, None, None]
            np.multiply(weights, weights > limits, out=result[part])
            flat = result[part].reshape(len(weights), -1)
            row, tied = np.divmod(np.flatnonzero(weights == limits), count * _BLOCK)
            lower = tied < ids[part][row]
            flat[row[lower], tied[lower]] = own[part][row[lower]]
            np.add.reduce(result[part], axis=2, out=sums[part])
        return Weights(result, sums.astype(np.float64), self.shifts)


def _rows_at_once(blocks: Floats) -> int:
    width: int = blocks.shape[1] * _BLOCK
    return max(1, _AT_ONCE // width)
