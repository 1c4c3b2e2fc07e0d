"""exp(value / temperature) over the vocabulary, and draws by the inverse of its running sum.

Sums of blocks of 128 neighbours are taken in ONNX Runtime, in half of numpy's time. Every block
begins at a multiple of its size in memory that ONNX Runtime aligned, so that its sum runs in the
same order wherever its row lies in a batch: a row's sums do not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper

from service.engine.request import Floats
from service.engine.runners.onnx_session import block_reduction, declare, new_session, serialize

SUM_BLOCK = 128
# Values worked on together, which stay in a processor's second-level cache: those that ONNX Runtime
# sums, and those that numpy raises, which needs more room for what is between.
_SUMMED_AT_ONCE, _RAISED_AT_ONCE = 1 << 17, 1 << 16


def block_sums(values: Floats, inverse: NDArray[np.float64]) -> Floats:
    """(R, V) and 1 / temperature (R,) -> (R, V / 128); V is a multiple of 128."""
    rows, vocab = values.shape
    assert vocab % SUM_BLOCK == 0
    scaled = not (inverse == 1).all()
    session, factors = _session(scaled=scaled), inverse.astype(np.float32)[:, None]
    size = max(1, _SUMMED_AT_ONCE // vocab)
    parts = []
    for start in range(0, rows, size):
        part = slice(start, start + size)
        inputs = {"values": values[part]}
        if scaled:
            inputs["factors"] = factors[part]
        parts += session.run(None, inputs)
    return np.concatenate(parts)


def bound_block_sums(values: Floats, factor: Floats | None, sums: Floats) -> Callable[[], None]:
    """`block_sums` from one array to another, (R, V) -> (R, V / 128), again and again.

    factor: 1 / temperature, (R, 1); None for 1. The arrays must stay where they are.
    """
    session = _session(scaled=factor is not None)
    binding = session.io_binding()
    inputs = {"values": values} if factor is None else {"values": values, "factors": factor}
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
    binding.bind_output("sums", "cpu", 0, np.float32, sums.shape, sums.ctypes.data)
    return partial(session.run_with_iobinding, binding)


@cache
def _session(*, scaled: bool) -> ort.InferenceSession:
    """values (R, V), factors (R, 1) if scaled -> sums (R, V / 128); made once: it takes a while."""
    inputs, exponents = [declare("values", ["R", "V"])], "values"
    nodes = []
    if scaled:
        inputs.append(declare("factors", ["R", 1]))
        exponents = "exponents"
        nodes.append(helper.make_node("Mul", ["values", "factors"], [exponents]))
    nodes.append(helper.make_node("Exp", [exponents], ["exponentials"]))
    sums, constants = block_reduction("ReduceSum", "exponentials", SUM_BLOCK, "sums")
    outputs = [declare("sums", ["R", "B"])]
    return new_session(serialize([*nodes, *sums], inputs, outputs, constants))


VANISHING, HUGE = 1e-30, 1e30  # sums of exponentials between these keep float32's precision

Ids = NDArray[np.int64]
Mask = NDArray[np.bool_]
Doubles = NDArray[np.float64]


class Arena:
    """Large arrays used again and again, since fresh memory costs more than the sums in it."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, int], Floats] = {}

    def blocks(self, name: str, rows: int, vocab: int) -> Floats:
        """(rows, blocks, SUM_BLOCK), whose places past the vocabulary are 0, the rest anything."""
        kept = self._arrays.get((name, vocab))
        if kept is None or len(kept) < rows:
            kept = np.zeros((rows, -(-vocab // SUM_BLOCK), SUM_BLOCK), np.float32)
            self._arrays[name, vocab] = kept
        return kept[:rows]


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of exp(value / temperature) over blocks, (R, blocks), without what was summed.

    inverse: 1 / temperature, (R,). shifts: (R,), what was subtracted from a row's values before.
    """

    sums: Doubles
    inverse: Doubles
    shifts: Floats

    @classmethod
    def of(cls, values: Floats, inverse: Doubles, arena: Arena, sparse: Mask | None = None) -> Sums:
        """values: (R, V); inverse: 1 / temperature, (R,); sparse: rows (R,) with many of -inf.

        Log-probabilities need no shift before exp, unless what bans, biases and a low temperature
        leave of a row all but vanishes or overflows: then the largest exponential becomes 1.
        """
        shifts = np.zeros(len(values), np.float32)
        with np.errstate(over="ignore"):
            if sparse is None or not sparse.any():
                sums = _sums(values, inverse, shifts, arena)
            elif sparse.all():
                sums = _sums_of_sparse(values, inverse, shifts, arena)
            else:
                sums = np.empty((len(values), -(-values.shape[1] // SUM_BLOCK)))
                for own, sum_up in ((sparse, _sums_of_sparse), (~sparse, _sums)):
                    sums[own] = sum_up(values[own], inverse[own], shifts[own], arena)
        totals = sums.sum(axis=1)
        rows = np.flatnonzero((totals < VANISHING) | (totals > HUGE))
        if len(rows):
            largest = values[rows].max(axis=1)
            shifts[rows] = np.where(np.isneginf(largest), 0, largest)
            sums[rows] = _sums(values[rows], inverse[rows], shifts[rows], arena)
        return cls(sums, inverse, shifts)

    def log_totals(self) -> Doubles:
        """ln of the sum of exp(value / temperature), (R,); very low where nothing is left."""
        floor = np.finfo(np.float64).tiny
        totals = np.maximum(self.sums.sum(axis=1), floor)
        result: Doubles = np.log(totals) + self.shifts * self.inverse
        return result

    def rows(self, chosen: Ids) -> Sums:
        """Those of some rows; the same memory where these are all."""
        if len(chosen) == len(self.sums):
            return self
        return Sums(self.sums[chosen], self.inverse[chosen], self.shifts[chosen])

    def draw(self, values: Floats, uniforms: Doubles) -> Ids:
        """As `Exponentials.draw`, from the values (R, V) that were summed."""
        block, targets = _block_of(self.sums, uniforms)
        rows, vocab = values.shape
        if vocab % SUM_BLOCK == 0:
            chosen = values.reshape(rows, -1, SUM_BLOCK)[np.arange(rows), block]
        else:
            ids = block[:, None] * SUM_BLOCK + np.arange(SUM_BLOCK)
            chosen = np.take_along_axis(values, np.minimum(ids, vocab - 1), axis=1)
            chosen[ids >= vocab] = -np.inf
        _exponentials(chosen, self.inverse, self.shifts, chosen)
        return _token_of(self.sums, block, targets, chosen)


@dataclass(frozen=True, slots=True)
class Exponentials:
    """blocks: (R, blocks, SUM_BLOCK); sums: of each block, (R, blocks)."""

    blocks: Floats
    sums: Doubles

    @classmethod
    def of(cls, values: Floats, sums: Sums, arena: Arena) -> Exponentials:
        """values: (R, V), whose sums are known. The result lies in the arena."""
        rows, vocab = values.shape
        blocks = arena.blocks("exponentials", rows, vocab)
        flat = blocks.reshape(rows, -1)[:, :vocab]
        size = _rows_at_once(blocks)
        for start in range(0, rows, size):
            part = slice(start, start + size)
            _exponentials(values[part], sums.inverse[part], sums.shifts[part], flat[part])
        return cls(blocks, sums.sums)

    def _replace(self, rows: Ids, blocks: Floats) -> None:
        self.blocks[rows] = blocks
        self.sums[rows] = blocks.sum(axis=2)

    @property
    def totals(self) -> Doubles:
        totals: Doubles = self.sums.sum(axis=1)
        return totals

    def rows(self, chosen: Ids) -> Exponentials:
        """Those of some rows; the same memory where these are all."""
        if len(chosen) == len(self.sums):
            return self
        return Exponentials(self.blocks[chosen], self.sums[chosen])

    def keep(self, rows: Ids, mask: NDArray[np.bool_]) -> None:
        """Set other exponentials of some rows to 0; mask: (len(rows), V)."""
        kept = np.zeros((len(rows), self.blocks.shape[1] * SUM_BLOCK), bool)
        kept[:, : mask.shape[1]] = mask
        self._replace(rows, self.blocks[rows] * kept.reshape(len(rows), -1, SUM_BLOCK))

    def of_vocabulary(self, rows: Ids, vocab: int) -> Floats:
        """Exponentials of some rows, (len(rows), V)."""
        return self.blocks[rows].reshape(len(rows), -1)[:, :vocab]

    def draw(self, uniforms: Doubles) -> Ids:
        """The token of each row in whose share of [0, 1), by ascending id, its number lies.

        0 where nothing has any exponential.
        """
        block, targets = _block_of(self.sums, uniforms)
        return _token_of(self.sums, block, targets, self.blocks[np.arange(len(block)), block])

    def before(self, ids: Ids, arena: Arena) -> Exponentials:
        """What each row has before a token of it, largest first (ties: lower ids first).

        The result lies in the arena, where the next call overwrites it.
        """
        rows, count, _ = self.blocks.shape
        own = self.blocks.reshape(rows, -1)[np.arange(rows), ids]
        result = arena.blocks("before", rows, count * SUM_BLOCK)
        sums = np.empty((rows, count), np.float32)
        size = _rows_at_once(self.blocks)
        for start in range(0, rows, size):
            part = slice(start, start + size)
            exponentials, limits = self.blocks[part], own[part, None, None]
            np.multiply(exponentials, exponentials > limits, out=result[part])
            flat = result[part].reshape(len(exponentials), -1)
            row, tied = np.divmod(np.flatnonzero(exponentials == limits), count * SUM_BLOCK)
            lower = tied < ids[part][row]
            flat[row[lower], tied[lower]] = own[part][row[lower]]
            np.add.reduce(result[part], axis=2, out=sums[part])
        return Exponentials(result, sums.astype(np.float64))


def _rows_at_once(blocks: Floats) -> int:
    width: int = blocks.shape[1] * SUM_BLOCK
    return max(1, _RAISED_AT_ONCE // width)


def _exponentials(values: Floats, inverse: Doubles, shifts: Floats, out: Floats) -> None:
    """exp((value - shift) / temperature), the rows' own, (R, C)."""
    if shifts.any():
        values = np.subtract(values, shifts[:, None], out=out)
    if not (inverse == 1).all():
        values = np.multiply(values, inverse.astype(np.float32)[:, None], out=out)
    np.exp(values, out=out)


def _sums(values: Floats, inverse: Doubles, shifts: Floats, arena: Arena) -> Doubles:
    """Of each block, (R, blocks), a few rows at a time: main memory is slower than exp."""
    if values.shape[1] % SUM_BLOCK == 0 and not shifts.any():
        return block_sums(values, inverse).astype(np.float64)
    return _sums_of_sparse(values, inverse, shifts, arena)


def _sums_of_sparse(values: Floats, inverse: Doubles, shifts: Floats, arena: Arena) -> Doubles:
    """The same for rows of which little is left.

    Not in ONNX Runtime, which takes exp(-inf) for a number below the normal ones, and ten times as
    long over those.
    """
    rows, vocab = values.shape
    width = -(-vocab // SUM_BLOCK) * SUM_BLOCK
    size = min(rows, max(1, _RAISED_AT_ONCE // width))
    blocks = arena.blocks("some", size, vocab)
    flat = blocks.reshape(size, width)[:, :vocab]
    sums = np.empty((rows, blocks.shape[1]), np.float32)
    for start in range(0, rows, size):
        part = slice(start, min(start + size, rows))
        count = part.stop - start
        _exponentials(values[part], inverse[part], shifts[part], flat[:count])
        np.add.reduce(blocks[:count], axis=2, out=sums[part])
    return sums.astype(np.float64)


def _block_of(sums: Doubles, uniforms: Doubles) -> tuple[Ids, Doubles]:
    """In which block of each row its number lies, and how much of the mass lies before it there."""
    ends, each = np.cumsum(sums, axis=1), np.arange(len(sums))
    # Rounding must not carry a target to the very end, past the last token.
    targets = np.minimum(uniforms * ends[:, -1], np.nextafter(ends[:, -1], 0))
    block = _first_above(ends, targets)
    block[block == ends.shape[1]] -= 1  # a row without any mass
    targets -= ends[each, block] - sums[each, block]
    return block, targets


def _token_of(sums: Doubles, block: Ids, targets: Doubles, exponentials: Floats) -> Ids:
    """The token within the block; exponentials: the block's, (R, SUM_BLOCK)."""
    place = _first_above(np.cumsum(exponentials, axis=1, dtype=np.float64), targets)
    rounded = np.flatnonzero(place == SUM_BLOCK)  # past the end: the last that can be meant
    if len(rounded):
        place[rounded] = SUM_BLOCK - 1 - np.argmax(exponentials[rounded, ::-1] > 0, axis=1)
    ids: Ids = block * SUM_BLOCK + place
    ids[~(sums[np.arange(len(sums)), block] > 0)] = 0  # no mass, or none that is a number
    return ids


def _first_above(ends: Doubles, targets: Doubles) -> Ids:
    """Where each ascending row of (R, C) first exceeds its target; C where it does not."""
    above = ends > targets[:, None]
    place: Ids = above.argmax(axis=1)
    place[~above[:, -1]] = ends.shape[1]
    return place
