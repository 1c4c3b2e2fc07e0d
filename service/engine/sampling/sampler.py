"""Log-probabilities -> tokens, for many rows with settings of their own.

Order of effects, vLLM's: biases and penalties, bans, temperature, min_p, top_k, typical_p, top_p.
Reported log-probabilities are always the model's own.

A row is drawn from its most probable tokens where the filters leave no others (`draw_from_best`),
else from all (`draw_from_all`): which of the two, and what is drawn, depends on the row alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats, TopLogprobs
from service.engine.sampling.draw import RowSettings, draw_from_all, draw_from_best, uniforms
from service.engine.sampling.logits_processors import Logits, LogitsProcessors, Patch, SampleState
from service.engine.sampling.row_draw import RowBuffer, RowDraw
from service.engine.sampling.softmax_sums import Arena, Doubles, Exponentials, Ids, Sums
from service.engine.sampling.top_candidates import (
    BLOCK,
    Candidates,
    are_few,
    block_maxima,
    collected,
    nth_largest,
    top_candidates,
)

_FEW_ROWS = 4  # up to so many are drawn one by one in less time


class Batch:
    """What is known of some rows before a draw and stays true for the next."""

    def __init__(self, rows: Sequence[SampleState], vocab: int) -> None:
        self.rows, self.vocab = list(rows), vocab
        self.settings = RowSettings.of(rows, vocab)
        self.processors = LogitsProcessors(self.rows, vocab)
        self.counts = [row.rules.params.logprobs or 0 for row in rows]
        settings = self.settings
        self.greedy = np.flatnonzero(settings.greedy)
        self.pure = np.flatnonzero(settings.pure)
        self.weighed = np.flatnonzero(settings.pure | settings.only_top_p)
        sizes = sorted(set(settings.num_candidates.tolist()) - {0})
        groups = [np.flatnonzero(settings.num_candidates == size) for size in sizes]
        # One search serves the draw and the report where all rows are drawn from their best.
        self.shares_maxima = (
            max(self.counts) > 0
            and len(groups) == 1
            and len(groups[0]) == len(rows)
            and self.processors.only_lower
            and vocab % BLOCK == 0
            and are_few(max(*self.counts, *sizes), vocab)
        )
        # No more candidates than top_k asks for, where that is all that rows ask for.
        tops = [int(settings.top_k[group].max()) for group in groups]
        self.groups = [
            (min(size, top), group) for size, top, group in zip(sizes, tops, groups, strict=True)
        ]


class Scratch:
    """The caller's, kept from call to call: memory, and the batch as long as it is the same."""

    def __init__(self) -> None:
        self.arena = Arena()
        self._batch: Batch | None = None
        self._row_draws: tuple[list[SampleState], list[RowDraw]] = ([], [])
        self._row_buffers: dict[int, RowBuffer] = {}

    def row_draws(self, rows: Sequence[SampleState], vocab: int) -> list[RowDraw]:
        """For each of a few rows; none where one of them cannot be drawn so."""
        known, draws = self._row_draws
        if known != rows:
            draws = [RowDraw(row.rules, vocab) for row in rows]
            if not all(draw.is_possible for draw in draws):
                draws = []
            self._row_draws = list(rows), draws
        return draws

    def row_buffer(self, vocab: int) -> RowBuffer:
        if vocab not in self._row_buffers:
            self._row_buffers[vocab] = RowBuffer(vocab)
        return self._row_buffers[vocab]

    def batch(self, rows: Sequence[SampleState], vocab: int) -> Batch:
        last = self._batch
        if last is None or last.vocab != vocab or last.rows != list(rows):
            last = self._batch = Batch(rows, vocab)
        return last


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
    logits: Logits,
    scratch: Scratch | None = None,
) -> Sampled:
    """Draw a token for each row of `logprobs` (R, V), which is changed and put back in between.

    logits: of the same rows (R, V); asked only where a repetition penalty needs their signs.
    """
    scratch = scratch or Scratch()
    if len(rows) <= _FEW_ROWS and (draws := scratch.row_draws(rows, logprobs.shape[1])):
        return _sample_few(logprobs, rows, draws, logits, scratch)
    return _sample_many(logprobs, rows, logits, scratch)


def _sample_few(
    logprobs: Floats,
    rows: Sequence[SampleState],
    draws: Sequence[RowDraw],
    logits: Logits,
    scratch: Scratch,
) -> Sampled:
    """A row after the other."""
    buffer, sampled = scratch.row_buffer(logprobs.shape[1]), Sampled([], [], [])
    for k, (state, draw) in enumerate(zip(rows, draws, strict=True)):
        own = logprobs[k]
        token = draw.draw(own, state, lambda k=k: logits()[k], buffer)  # type: ignore[misc]
        if token is None:  # rare; what was drawn already would be drawn again
            return _sample_many(logprobs, rows, logits, scratch)
        is_possible = not math.isinf(buffer.row[token])
        sampled.ids.append(token if is_possible else None)
        sampled.logprobs.append(float(own[token]))
        sampled.tops.append(draw.tops(own))
    return sampled


def _sample_many(
    logprobs: Floats, rows: Sequence[SampleState], logits: Logits, scratch: Scratch
) -> Sampled:
    """All rows at once."""
    batch = scratch.batch(rows, logprobs.shape[1])
    positions = np.array([len(row.generated) for row in rows], np.uint64)
    each = np.arange(len(rows))
    hits = thresholds = None
    with batch.processors.applied(logprobs, logits, in_place=False) as (values, patches):
        maxima = block_maxima(values) if batch.shares_maxima else None
        ids = _choose(values, batch, positions, scratch.arena, maxima)
        possible = ~np.isneginf(values[each, ids])
        if maxima is not None:
            thresholds = nth_largest(maxima, max(batch.counts))
            hits = _hits(maxima, thresholds, patches, batch.vocab)
    drawn: list[int | None] = ids.tolist()
    if not possible.all():
        drawn = [token if ok else None for token, ok in zip(drawn, possible.tolist(), strict=True)]
    if hits is None or thresholds is None:
        tops = top_logprobs(logprobs, batch.counts)
    else:
        best = collected(logprobs, hits, thresholds, max(batch.counts))
        tops = _listed(best, batch.counts)
    return Sampled(drawn, logprobs[each, ids].tolist(), tops)


def _hits(
    maxima: Floats, thresholds: Floats, patches: Sequence[Patch], vocab: int
) -> NDArray[np.bool_]:
    """Blocks that reach the threshold before the processors, which only lowered; maxima: with them.

    What was lowered counts with the value that it had.
    """
    hits = maxima >= thresholds[:, None]
    for places, saved in patches:
        high = places[saved >= thresholds[places // vocab]]
        hits.reshape(-1)[high // BLOCK] = True
    return hits


def top_logprobs(logprobs: Floats, counts: Sequence[int | None]) -> list[TopLogprobs]:
    """The most probable tokens of each row, as many as asked for."""
    vocab = logprobs.shape[1]
    largest = min(max((count or 0 for count in counts), default=0), vocab)
    tops: list[TopLogprobs] = [()] * len(counts)
    asked = [r for r, count in enumerate(counts) if count]
    if not asked:
        return tops
    best = top_candidates(logprobs[asked] if len(asked) < len(counts) else logprobs, largest)
    for r, top in zip(asked, _listed(best, [counts[r] for r in asked]), strict=True):
        tops[r] = top
    return tops


def _listed(best: Candidates, counts: Sequence[int | None]) -> list[TopLogprobs]:
    """As many of each row's as asked for."""
    width = best.ids.shape[1]
    pairs = list(zip(best.ids.ravel().tolist(), best.values.ravel().tolist(), strict=True))
    starts = range(0, len(pairs), width)
    return [
        tuple(pairs[start : start + min(count or 0, width)])
        for start, count in zip(starts, counts, strict=True)
    ]


def _choose(
    values: Floats,
    batch: Batch,
    positions: NDArray[np.uint64],
    arena: Arena,
    maxima: Floats | None,
) -> Ids:
    """Ids for processed log-probabilities (R, V). maxima: of their blocks, if at hand."""
    settings = batch.settings
    if len(batch.pure) == len(values):
        whole = Sums.of(values, settings.inverse, arena, batch.processors.guided)
        return whole.draw(values, uniforms(settings.keys, positions))
    ids = np.full(len(values), -1, np.int64)
    if len(batch.greedy):
        ids[batch.greedy] = _part(values, batch.greedy).argmax(axis=1)
    sums, weighed, masses = None, batch.weighed, np.zeros(len(values))
    if len(weighed):
        sums = Sums.of(
            _part(values, weighed),
            settings.inverse[weighed],
            arena,
            batch.processors.guided[weighed],
        )
        masses[weighed] = sums.log_totals()
    if sums is not None and len(batch.pure):
        keys = batch.settings.keys[batch.pure]
        numbers = uniforms(keys, positions[batch.pure])
        own = sums.rows(np.searchsorted(weighed, batch.pure))
        ids[batch.pure] = own.draw(_part(values, batch.pure), numbers)
    for size, rows in batch.groups:
        _draw_ordered(values, batch, positions, masses, size, rows, ids, maxima)
    rows = np.flatnonzero(ids < 0)
    if len(rows):
        settings = batch.settings.rows(rows)
        if sums is not None and np.isin(rows, weighed).all():
            own = sums.rows(np.searchsorted(weighed, rows))
        else:
            guided = batch.processors.guided[rows]
            own = Sums.of(_part(values, rows), settings.inverse, arena, guided)
        exponentials = Exponentials.of(_part(values, rows), own, arena)
        ids[rows] = draw_from_all(exponentials, settings, positions[rows], batch.vocab, arena)
    return ids


def _draw_ordered(
    values: Floats,
    batch: Batch,
    positions: NDArray[np.uint64],
    masses: Doubles,
    size: int,
    rows: Ids,
    ids: Ids,
    maxima: Floats | None,
) -> None:
    """Fill in the ids of those rows that can be drawn from their `size` best."""
    settings = batch.settings.rows(rows)
    if maxima is None and are_few(size, batch.vocab):
        maxima = block_maxima(_part(values, rows))
    if maxima is not None and settings.only_top_p.any():
        # So many of the largest would not make up the nucleus: then nothing need be sorted.
        most = np.log(size) + maxima.max(axis=1) * settings.inverse
        hopeful = np.flatnonzero(~settings.only_top_p | (most >= masses[rows] + settings.log_top_p))
        rows, maxima, settings = rows[hopeful], _part(maxima, hopeful), settings.rows(hopeful)
    if not len(rows):
        return
    best = top_candidates(_part(values, rows), size, maxima)
    found, complete = draw_from_best(best, settings, positions[rows], masses[rows], batch.vocab)
    ids[rows] = np.where(complete, found, -1)


def _part(values: Floats, rows: Ids) -> Floats:
    return values if len(rows) == len(values) else values[rows]
