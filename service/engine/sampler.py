"""Log-probabilities -> tokens, for many rows with settings of their own.

Order of effects, vLLM's: biases and penalties, bans, temperature, min_p, top_k, typical_p, top_p.
Reported log-probabilities are always the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.adjustments import LogitsOf, SampleState, modified
from service.engine.filters import (
    Candidates,
    best_of,
    candidates,
    descending,
    keep_largest,
    keep_typical,
    nucleus_candidates,
    num_min_p,
    num_top_p,
    top_candidates,
)
from service.engine.random_numbers import uniform
from service.engine.request import Floats, SamplingParams, TopLogprobs

_CANDIDATES = (64, 256, 1024)  # stages before the whole vocabulary is looked at
_MOST_SHARED = 96
_BLOCK = 128  # of the inverse cumulative distribution
_VANISHING, _HUGE = 1e-30, 1e30  # sums of weights between these keep float32's precision
_COLDEST = 1e-4  # below it a temperature is 0: its inverse would leave float32


class Scratch:
    """A large array used again and again, since fresh memory costs more than the sums in it."""

    def __init__(self) -> None:
        self._array = np.zeros((0, 0), np.float32)

    def padded(self, rows: int, vocab: int) -> Floats:
        """(rows, vocab rounded up to whole blocks), the padding 0, the rest anything."""
        width = -(-vocab // _BLOCK) * _BLOCK
        if self._array.shape[0] < rows or self._array.shape[1] != width:
            self._array = np.zeros((rows, width), np.float32)
        return self._array[:rows]


@dataclass(frozen=True, slots=True)
class Sampled:
    """Chosen ids (R,), their ln P by the model (R,), and alternatives where asked for.

    An id is None where a row's settings exclude every token.
    """

    ids: list[int | None]
    logprobs: list[float]
    tops: list[TopLogprobs]


def sample(
    logprobs: Floats,
    rows: Sequence[SampleState],
    logits_of: LogitsOf,
    scratch: Scratch | None = None,
) -> Sampled:
    """Draw a token for each row of `logprobs` (R, V), which is changed and put back in between.

    logits_of: rows -> their logits (len, V); asked only where a repetition penalty needs signs.
    scratch: the caller's, kept from call to call.
    """
    counts = [row.params.logprobs for row in rows]
    shared = _shared_candidates(logprobs, rows, counts)
    with modified(logprobs, rows, logits_of):
        ids = _choose(logprobs, rows, scratch or Scratch(), shared)
        possible = ~np.isneginf(logprobs[np.arange(len(rows)), ids])
    chosen = logprobs[np.arange(len(rows)), ids].tolist()
    drawn = [i if ok else None for i, ok in zip(ids.tolist(), possible.tolist(), strict=True)]
    return Sampled(drawn, chosen, top_logprobs(logprobs, counts, shared))


def _shared_candidates(
    logprobs: Floats, rows: Sequence[SampleState], counts: Sequence[int | None]
) -> Candidates | None:
    """Candidates that serve both the draw and the report of alternatives, where one pass can.

    Adjustments that only lower tokens leave the best k of a row among its best k + the number of
    tokens they touch.
    """
    most = max((count or 0 for count in counts), default=0)
    if not most or not all(r.only_lowers and _kind(r.params) == "truncated" for r in rows):
        return None
    if any(_need(row) > _CANDIDATES[0] or row.params.typical_p < 1 for row in rows):
        return None
    if not all(_is_cut(row.params) for row in rows):
        return None
    count = max(most, _CANDIDATES[0] + max(row.most_adjusted for row in rows))
    if count > _MOST_SHARED or 4 * count >= logprobs.shape[1]:
        return None  # two narrow passes are cheaper than a wide one
    return candidates(logprobs, count)


def top_logprobs(
    logprobs: Floats, counts: Sequence[int | None], found: Candidates | None = None
) -> list[TopLogprobs]:
    """The most probable tokens of each row, as many as asked for.

    found: candidates of these rows, if they are at hand.
    """
    largest = min(max((c or 0 for c in counts), default=0), logprobs.shape[1])
    if not largest:
        return [()] * len(counts)
    asked = [r for r, count in enumerate(counts) if count]
    if found is None:
        found = candidates(logprobs[asked] if len(asked) < len(counts) else logprobs, largest)
    elif len(asked) < len(counts):
        found = found.rows(asked)
    best = best_of(found, largest)
    tops: list[TopLogprobs] = [()] * len(counts)
    for k, r in enumerate(asked):
        count = counts[r]
        ids, values = best.ids[k, :count].tolist(), best.values[k, :count].tolist()
        tops[r] = tuple(zip(ids, values, strict=True))
    return tops


def _choose(
    values: Floats, rows: Sequence[SampleState], scratch: Scratch, shared: Candidates | None
) -> NDArray[np.int64]:
    """Ids for modified log-probabilities (R, V): greedy, truncated and free rows apart."""
    ids = np.empty(len(rows), np.int64)
    kinds = [_kind(row.params) for row in rows]
    for kind in set(kinds):
        members = [r for r, own in enumerate(kinds) if own == kind]
        part = values if len(members) == len(rows) else values[members]
        mine = [rows[r] for r in members]
        if kind == "greedy":
            ids[members] = _greedy(part)
        elif kind == "truncated":
            ids[members] = _truncated(part, mine, scratch, shared)
        else:
            ids[members] = _free(part, mine, scratch)
    return ids


def _kind(params: SamplingParams) -> str:
    if params.temperature < _COLDEST:
        return "greedy"
    cut = params.top_k > 0 or params.top_p < 1 or params.min_p > 0 or params.typical_p < 1
    return "truncated" if cut else "free"


def _greedy(values: Floats) -> NDArray[np.int64]:
    ids: NDArray[np.int64] = values.argmax(axis=1)
    return ids


def _uniforms(rows: Sequence[SampleState]) -> NDArray[np.float64]:
    return np.array([uniform(row.key, len(row.generated)) for row in rows])


def _weights(
    values: Floats, rows: Sequence[SampleState], scratch: Scratch
) -> tuple[Floats, NDArray[np.float64], NDArray[np.bool_]]:
    """exp(value / temperature) (R, blocks, _BLOCK), sums of blocks, and which rows are shifted.

    Log-probabilities need no shift before exp, unless what bans, biases and a low temperature leave
    of a row all but vanishes or overflows; then the row is shifted to have its largest at 0.
    """
    count, vocab = values.shape
    padded = scratch.padded(count, vocab)
    weights = padded[:, :vocab]
    inverse = np.array([1 / row.params.temperature for row in rows], np.float32)
    blocks = padded.reshape(count, -1, _BLOCK)
    with np.errstate(over="ignore"):
        if (inverse == 1).all():
            np.exp(values, out=weights)
        else:
            np.exp(np.multiply(values, inverse[:, None], out=weights), out=weights)
        sums = blocks.sum(axis=2)
        totals = sums.sum(axis=1)
    shifted = (totals < _VANISHING) | (totals > _HUGE)
    for r in np.flatnonzero(shifted).tolist():
        with np.errstate(invalid="ignore"):  # -inf - -inf where nothing is left at all
            weights[r] = np.exp((values[r] - values[r].max()) * inverse[r])
        sums[r] = blocks[r].sum(axis=1)
    return blocks, sums.astype(np.float64), shifted


def _free(values: Floats, rows: Sequence[SampleState], scratch: Scratch) -> NDArray[np.int64]:
    """Inverse of the cumulative distribution: find the block, then the token in it."""
    blocks, sums, _ = _weights(values, rows, scratch)
    ends = np.cumsum(sums, axis=1)
    targets = _uniforms(rows) * ends[:, -1]
    block = np.minimum(np.count_nonzero(ends <= targets[:, None], axis=1), ends.shape[1] - 1)
    each = np.arange(len(rows))
    before = np.where(block > 0, ends[each, block - 1], 0.0)
    ids: NDArray[np.int64] = block * _BLOCK + _invert(blocks[each, block], targets - before)
    return ids


def _invert(weights: NDArray[Any], targets: NDArray[np.float64]) -> NDArray[np.int64]:
    """First place of each row where the running sum passes the target; never a weight of 0."""
    return _place(weights, np.cumsum(weights, axis=1, dtype=np.float64), targets)


def _place(
    weights: NDArray[Any], ends: NDArray[np.float64], targets: NDArray[np.float64]
) -> NDArray[np.int64]:
    # Rounding may leave a target at or past the end: the last possible place takes it.
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    places: NDArray[np.int64] = np.minimum(np.count_nonzero(ends <= targets[:, None], axis=1), last)
    return places


def _truncated(
    values: Floats, rows: Sequence[SampleState], scratch: Scratch, shared: Candidates | None
) -> NDArray[np.int64]:
    """Rows with any of min_p, top_k, typical_p, top_p: among few candidates, or more if need be.

    Rows that top_p alone truncates are done in one go, the others in stages.

    shared: candidates of these rows before adjustment, enough for the first stage.
    """
    if any(row.params.typical_p < 1 for row in rows):
        values = _typical_rows(values, [row.params for row in rows])
    vocab = values.shape[1]
    ids = np.full(len(rows), -1, np.int64)
    needs = [_need(row) for row in rows]
    alone = [r for r, row in enumerate(rows) if not _is_cut(row.params)]
    if alone:
        part = values if len(alone) == len(rows) else values[alone]
        mine = [rows[r] for r in alone]
        ids[alone] = _draw_nucleus(part, mine, _masses(part, mine, scratch))
    pending = [r for r, row in enumerate(rows) if _is_cut(row.params)]
    for count in (*(c for c in _CANDIDATES if 4 * c < vocab), vocab):
        members = [r for r in pending if needs[r] <= count or count == vocab]
        if not members:
            continue
        part = values if len(members) == len(rows) else values[members]
        if shared is not None and count == _CANDIDATES[0]:
            few = shared.with_values_of(values)  # then every row is a member
        else:
            few = candidates(part, count)
        mine = [rows[r] for r in members]
        ids[members], complete = _draw(few, vocab, mine, count)
        done = {r for r, ok in zip(members, complete.tolist(), strict=True) if ok}
        pending = [r for r in pending if r not in done]
    return ids


def _need(row: SampleState) -> int:
    """Guess of how many candidates a row's filters will look at."""
    return row.params.top_k or row.num_kept * 5 // 4


def _typical_rows(values: Floats, params: Sequence[SamplingParams]) -> Floats:
    values = values.copy()
    for r, p in enumerate(params):
        if p.typical_p < 1 and values[r].max() > -np.inf:
            # The filter looks at the distribution that temperature, min_p and top_k leave.
            scaled = (values[r] - values[r].max()) / np.float32(p.temperature)
            if p.top_k and p.top_k < len(scaled):
                kept = top_candidates(scaled[None], p.top_k).ids[0]
                mask = np.ones(len(scaled), bool)
                mask[kept] = False
                scaled[mask] = -np.inf
            if p.min_p:
                scaled[scaled < np.log(p.min_p)] = -np.inf
            keep_typical(scaled, p.typical_p)
            values[r, np.isneginf(scaled)] = -np.inf
    return values


def _is_cut(params: SamplingParams) -> bool:
    """Whether something besides top_p truncates; top_p then looks at what that leaves."""
    return params.min_p > 0 or params.top_k > 0 or params.typical_p < 1


def _masses(values: Floats, rows: Sequence[SampleState], scratch: Scratch) -> NDArray[np.float64]:
    """Sum over the vocabulary of exp((value - largest) / temperature), (R,)."""
    _, sums, shifted = _weights(values, rows, scratch)
    inverse = np.array([1 / row.params.temperature for row in rows])
    largest = np.exp(np.where(shifted, 0.0, values.max(axis=1)) * inverse)
    masses: NDArray[np.float64] = sums.sum(axis=1) / largest
    return masses


def _draw_nucleus(
    values: Floats, rows: Sequence[SampleState], masses: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Draw for rows that top_p alone truncates; as `_draw`, in float32, for nuclei may be wide."""
    temperatures = np.array([row.params.temperature for row in rows])
    top_p = np.array([row.params.top_p for row in rows])
    few = nucleus_candidates(values, temperatures, masses, top_p)
    inverse = (1 / temperatures).astype(np.float32)[:, None]
    ordered = descending(few.values)
    with np.errstate(invalid="ignore"):  # -inf - -inf where nothing is left at all
        ends = np.cumsum(np.exp((ordered - ordered[:, :1]) * inverse), axis=1, dtype=np.float64)
        weights = np.exp((few.values - ordered[:, :1]) * inverse)
    counts = np.count_nonzero(ends < (top_p * masses)[:, None], axis=1) + 1
    possible = np.count_nonzero(~np.isneginf(ordered), axis=1)
    counts = np.minimum(counts, np.maximum(possible, 1))
    weights[~keep_largest(few.values, ordered, counts)] = 0
    ends = np.cumsum(weights, axis=1, dtype=np.float64)
    ids: NDArray[np.int64] = few.ids[
        np.arange(len(rows)), _place(weights, ends, _uniforms(rows) * ends[:, -1])
    ]
    return ids


def _draw(
    few: Candidates,
    vocab: int,
    rows: Sequence[SampleState],
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw among the `count` best of each row; the second array tells where that many sufficed.

    Sums run in an order that the candidates' number does not change: from the largest down to
    find the survivors, by ascending id to draw one of them.
    """
    params = [row.params for row in rows]
    inverse = np.array([1 / p.temperature for p in params])
    ordered = descending(few.values)
    with np.errstate(invalid="ignore"):  # -inf - -inf where nothing is left at all
        shifted = (ordered - ordered[:, :1]) * inverse[:, None]
        scaled = (few.values - ordered[:, :1]) * inverse[:, None]
    possible = np.count_nonzero(~np.isneginf(shifted), axis=1)
    top_k = np.array([p.top_k or vocab for p in params])
    min_p = np.array([p.min_p for p in params])
    keep = np.minimum(np.minimum(top_k, num_min_p(shifted, min_p)), possible)
    complete = (keep < count) | (keep >= top_k) | few.whole
    weights = np.exp(shifted)
    weights[np.arange(weights.shape[1]) >= keep[:, None]] = 0
    sums = np.cumsum(weights, axis=1)[:, -1]
    top_p = np.array([p.top_p for p in params])
    keep = np.minimum(keep, num_top_p(weights, sums, top_p))
    mask = keep_largest(few.values, ordered, keep)
    survivors = np.where(mask, np.exp(scaled), 0.0)
    ends = np.cumsum(survivors, axis=1)[:, -1]
    places = _invert(survivors, _uniforms(rows) * ends)
    for row, size in zip(rows, keep.tolist(), strict=True):
        row.num_kept = size
    return few.ids[np.arange(len(rows)), places], complete
