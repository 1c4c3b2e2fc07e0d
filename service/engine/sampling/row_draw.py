"""Drawing for a single row, without the machinery that many rows at once need.

The same definitions as in `draw`, `softmax_sums` and `top_candidates`, on arrays of one dimension
and in the same order of every sum: the same token from the same numbers, to the last bit. What is
rare (typical_p, guides, a top_k of hundreds, a wide min_p, vanishing sums) is left to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats, TopLogprobs
from service.engine.sampling.draw import COLDEST, num_candidates, uniform
from service.engine.sampling.logits_processors import SampleState, SamplingRules
from service.engine.sampling.softmax_sums import (
    HUGE,
    SUM_BLOCK,
    VANISHING,
    Doubles,
    bound_block_sums,
)
from service.engine.sampling.top_candidates import BLOCK, LEAST, are_few

_TINY = np.finfo(np.float64).tiny


class RowBuffer:
    """A row's log-probabilities while they are processed, and the sums of its blocks.

    Kept from draw to draw, so that the sums' session is bound to its memory once.
    """

    def __init__(self, vocab: int) -> None:
        """`vocab`: a multiple of SUM_BLOCK."""
        self.values = np.zeros((1, vocab), np.float32)
        self.row: Floats = self.values[0]
        self._factor, self._sums = (
            np.ones((1, 1), np.float32),
            np.zeros((1, vocab // SUM_BLOCK), np.float32),
        )
        self._plain = bound_block_sums(self.values, None, self._sums)
        self._scaled = bound_block_sums(self.values, self._factor, self._sums)

    def block_sums(self, inverse: np.float32) -> Doubles:
        """Of exp(value / temperature) over blocks, (V / SUM_BLOCK,)."""
        if inverse == 1:
            self._plain()
        else:
            self._factor[0, 0] = inverse
            self._scaled()
        sums: Doubles = self._sums[0].astype(np.float64)
        return sums


class RowDraw:
    """Draws for rows of one request's settings over one vocabulary."""

    def __init__(self, rules: SamplingRules, vocab: int) -> None:
        params = rules.params
        self._rules, self._vocab = rules, vocab
        self._greedy = params.temperature < COLDEST
        self._inverse = 1.0 if self._greedy else 1 / params.temperature
        self._inverse32 = np.float32(self._inverse)
        self._top_k = min(params.top_k or vocab, vocab)
        self._top_p, self._min_p = params.top_p, params.min_p
        any_k = self._top_k == vocab
        self._pure = any_k and self._top_p >= 1 and self._min_p <= 0
        self._only_top_p = any_k and self._top_p < 1 and self._min_p <= 0
        self._log_top_p, self._log_min_p = np.log(self._top_p), np.log(max(self._min_p, _TINY))
        self._count = min(num_candidates(self._top_k, vocab), self._top_k)
        self._num_tops = min(params.logprobs or 0, vocab)
        few = max(self._count, self._num_tops)
        self.is_possible = (
            params.typical_p >= 1
            and not params.guides
            and vocab % SUM_BLOCK == 0
            and (are_few(few, vocab) or ((self._greedy or self._pure) and not self._num_tops))
        )
        self._excluded = _as_slice(rules.excluded(vocab))
        self._is_changing = bool(params.min_tokens or rules.bad_words)

    def draw(
        self, logprobs: Floats, state: SampleState, logits: Callable[[], Floats], buffer: RowBuffer
    ) -> int | None:
        """The token for a row (V,), which may be one that is excluded if all are.

        None where it must be drawn otherwise. logits: of the row, (V,).
        """
        values = self._processed(logprobs, state, logits, buffer)
        if self._greedy:
            return int(values.argmax())
        sums, total = None, 0.0
        if self._pure or self._only_top_p:
            sums = buffer.block_sums(self._inverse32)
            total = float(sums.sum())
            if not VANISHING <= total <= HUGE:
                return None
        number = uniform(state.key, len(state.generated))
        if sums is not None and self._pure:
            return _inverse(sums, number, lambda block: self._exponentials(_block(values, block)))
        token = self._draw_from_best(values, total, number)
        if token is None and sums is not None:
            token = self._draw_from_all(values, sums, state)
        return token

    def _processed(
        self, logprobs: Floats, state: SampleState, logits: Callable[[], Floats], buffer: RowBuffer
    ) -> Floats:
        """The row in the buffer, with biases, penalties and bans."""
        rules, row = self._rules, buffer.row
        row[:] = logprobs
        if rules.bias is not None:
            row[rules.bias[0]] += rules.bias[1]
        if rules.has_repetition:
            ids, penalty = state.repeated, np.float32(rules.params.repetition_penalty)
            before = logits()[ids]
            if rules.bias is not None:
                before += rules.dense_bias(self._vocab)[ids]
            row[ids] += np.where(before > 0, before / penalty, before * penalty) - before
        if rules.has_presence:
            row[state.penalised.ids] += state.penalised.shifts
        if self._excluded is not None:
            row[self._excluded] = -np.inf
        if self._is_changing:
            row[state.banned_now()] = -np.inf
        return row

    def _exponentials(self, values: Floats) -> Floats:
        """exp(value / temperature)."""
        result: Floats = np.exp(values if self._inverse32 == 1 else values * self._inverse32)
        return result

    def _draw_from_all(self, values: Floats, sums: Doubles, state: SampleState) -> int:
        """From all tokens, again and again from those before the last, down into the nucleus."""
        left, limit, attempt = self._exponentials(values), self._top_p * sums.sum(), 0
        while True:
            number = uniform(state.key, len(state.generated), attempt)
            token = _inverse(sums, number, lambda block, left=left: _block(left, block))  # type: ignore[misc]
            own = left[token]
            before = left * (left > own)
            tied = (left[:token] == own).nonzero()[0]
            before[tied] = own
            sums = np.add.reduce(before.reshape(-1, SUM_BLOCK), axis=1).astype(np.float64)
            mass = sums.sum()
            if mass < limit or mass <= 0:
                return token
            left, attempt = before, attempt + 1

    def _draw_from_best(self, values: Floats, total: float, number: float) -> int | None:
        """Among the most probable tokens; None where they may not be enough."""
        maxima = _group_maxima(values)
        if self._only_top_p:
            log_total = np.log(total)
            most = np.log(self._count) + maxima.max() * self._inverse
            if not most >= log_total + self._log_top_p:
                return None
        ids, best = _largest(values, maxima, self._count)
        if not len(ids):
            return 0
        largest = float(best[0])
        scaled = (best - np.float64(largest)) * self._inverse
        exponentials = np.exp(scaled)
        complete = self._top_k <= self._count or len(ids) < self._count
        if self._min_p > 0:
            outside = scaled < self._log_min_p
            exponentials[outside] = 0
            complete = complete or bool(outside[-1])
        ends = exponentials.cumsum()
        mass = float(ends[-1])
        if self._top_p < 1:
            whole = np.exp(log_total - largest * self._inverse) if self._only_top_p else mass
            limit = self._top_p * whole
            complete = complete or (self._only_top_p and mass >= limit)
            mass = float(ends[min(int(ends.searchsorted(limit)), len(ends) - 1)])
        if not complete:
            return None
        target = min(number * mass, math.nextafter(mass, 0))
        return int(ids[min(int(ends.searchsorted(target, side="right")), len(ids) - 1)])

    def tops(self, logprobs: Floats) -> TopLogprobs:
        """The most probable tokens, as many as asked for."""
        if not self._num_tops:
            return ()
        ids, best = _largest(logprobs, _group_maxima(logprobs), self._num_tops)
        return tuple(zip(ids.tolist(), best.tolist(), strict=True))


def _block(values: Floats, block: int) -> Floats:
    return values[block * SUM_BLOCK : (block + 1) * SUM_BLOCK]


def _inverse(sums: Doubles, number: float, exponentials_of: Callable[[int], Floats]) -> int:
    """The token, by ascending id, in whose share of [0, 1) a number lies.

    sums: of blocks, (V / SUM_BLOCK,); exponentials_of: those of a block.
    """
    ends = sums.cumsum()
    total = float(ends[-1])
    target = min(number * total, math.nextafter(total, 0))
    block = min(int(ends.searchsorted(target, side="right")), len(ends) - 1)
    target -= float(ends[block]) - float(sums[block])
    exponentials = exponentials_of(block)
    inner = exponentials.astype(np.float64).cumsum()
    last = SUM_BLOCK - 1 - int((exponentials[::-1] > 0).argmax())
    return block * SUM_BLOCK + min(int(inner.searchsorted(target, side="right")), last)


def _group_maxima(values: Floats) -> Floats:
    """Of groups of BLOCK values that lie apart: quicker for a row than of neighbours."""
    maxima: Floats = np.maximum.reduce(values.reshape(BLOCK, -1), axis=0)
    return maxima


def _largest(values: Floats, maxima: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Ids and values of the `count` largest, largest first (ties: lower ids); -inf is left out."""
    threshold = max(float(np.partition(maxima, -count)[-count]), LEAST)
    ids = (values >= threshold).nonzero()[0]
    found = values[ids]
    order = (-found).argsort(kind="stable")[:count]
    return ids[order], found[order]


def _as_slice(ids: NDArray[np.int64]) -> NDArray[np.int64] | slice | None:
    """Distinct ascending ids as the quickest index; None for none."""
    if not len(ids):
        return None
    first, last = int(ids[0]), int(ids[-1])
    return slice(first, last + 1) if last - first + 1 == len(ids) else ids
