"""Biases, penalties and bans on log-probabilities: put on before a draw, taken off after it.

They touch few tokens of a row, so they are applied in place, for all rows of one kind at once, and
undone afterwards: a copy of (R, V) would cost more than the sampling.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats, SamplingParams

LogitsOf = Callable[[Sequence[int]], Floats]
Ids = NDArray[np.int64]


class SeenTokens:
    """Distinct tokens and a shift for each, as growing arrays: -(once + each * occurrences)."""

    def __init__(self, once: float = 0.0, each: float = 0.0) -> None:
        self._once, self._each = once, each
        self._places: dict[int, int] = {}
        self._occurrences: list[int] = []
        self._ids = np.zeros(16, np.int64)
        self._shifts = np.zeros(16, np.float32)

    def add(self, token: int) -> None:
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._occurrences):
            self._occurrences.append(0)
            if place == len(self._ids):
                self._ids = np.concatenate([self._ids, np.zeros_like(self._ids)])
                self._shifts = np.concatenate([self._shifts, np.zeros_like(self._shifts)])
            self._ids[place] = token
        self._occurrences[place] += 1
        self._shifts[place] = -(self._once + self._each * self._occurrences[place])

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ids(self) -> Ids:
        return self._ids[: len(self._places)]

    @property
    def shifts(self) -> Floats:
        return self._shifts[: len(self._places)]


@dataclass(slots=True)
class SampleState:
    """What a continuation brings to its own sampling.

    key: of its random stream; prompt: token ids before it; generated: those it has made so far.
    num_kept: tokens that survived the filters last time: a guess that saves time, no more.
    """

    params: SamplingParams
    key: int
    prompt: Sequence[int] = ()
    generated: list[int] = field(default_factory=list)
    num_kept: int = 0
    _own: SeenTokens = field(init=False)
    _with_prompt: SeenTokens = field(init=False)
    _bias: tuple[Ids, Floats] | None = None
    _suppressed: Ids = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self._own = SeenTokens(params.presence_penalty, params.frequency_penalty)
        self._with_prompt = SeenTokens()
        for token in self.generated:
            self._count(token)
        if params.repetition_penalty != 1:
            for token in self.prompt:
                self._with_prompt.add(token)
        if params.logit_bias:
            ids = np.fromiter(params.logit_bias, np.int64)
            self._bias = ids, np.fromiter(params.logit_bias.values(), np.float32)
        self._suppressed = np.array(params.suppressed_token_ids, np.int64)

    def append(self, token: int) -> None:
        self.generated.append(token)
        self._count(token)

    def _count(self, token: int) -> None:
        params = self.params
        if params.presence_penalty or params.frequency_penalty:
            self._own.add(token)
        if params.repetition_penalty != 1:
            self._with_prompt.add(token)

    @property
    def only_lowers(self) -> bool:
        """Whether no adjustment raises a token; those not touched then keep their order."""
        params = self.params
        return (
            not params.logit_bias
            and params.repetition_penalty == 1
            and params.presence_penalty >= 0
            and params.frequency_penalty >= 0
            and params.allowed_token_ids is None
        )

    @property
    def most_adjusted(self) -> int:
        """Bound on the tokens that adjustments touch, where they only lower."""
        params = self.params
        stops = len(params.stop_token_ids) if params.min_tokens else 0
        bans = len(params.suppressed_token_ids) + len(params.bad_words)
        return len(self._own) + bans + stops

    def bias(self) -> tuple[Ids, Floats] | None:
        return self._bias

    def penalties(self) -> tuple[Ids, Floats] | None:
        """Presence and frequency penalties, as shifts of the tokens generated so far."""
        return (self._own.ids, self._own.shifts) if len(self._own) else None

    def repetition(self, logits: Floats) -> tuple[Ids, Floats]:
        """The repetition penalty as shifts; it looks at the sign of the (biased) logits (V,)."""
        ids, penalty = self._with_prompt.ids, self.params.repetition_penalty
        before = logits[ids]
        if self._bias is not None:
            biases = dict(zip(*(part.tolist() for part in self._bias), strict=True))
            before = before + np.array([biases.get(t, 0.0) for t in ids.tolist()], np.float32)
        return ids, np.where(before > 0, before / penalty, before * penalty) - before

    def banned(self) -> Ids:
        """Tokens that must not be drawn now."""
        params = self.params
        now: list[int] = []
        if len(self.generated) < params.min_tokens:
            now += params.stop_token_ids
        for word in params.bad_words:
            if self._ends_with(word[:-1]):
                now.append(word[-1])
        assert self._suppressed is not None
        return (
            np.concatenate([self._suppressed, np.array(now, np.int64)]) if now else self._suppressed
        )

    def _ends_with(self, tokens: Sequence[int]) -> bool:
        size = len(tokens)
        if not size:
            return True
        history = list(self.generated[-size:])
        if missing := size - len(history):
            history = [*self.prompt[-missing:], *history]
        return history == list(tokens)


class _Patch(NamedTuple):
    rows: Ids
    ids: Ids
    saved: Floats


@contextlib.contextmanager
def modified(logprobs: Floats, rows: Sequence[SampleState], logits_of: LogitsOf) -> Iterator[None]:
    """Inside, `logprobs` (R, V) carries every adjustment; afterwards it is as before.

    logits_of: rows -> their logits (len, V); asked only where a repetition penalty needs signs.
    """
    patches: list[_Patch] = []
    whole_rows: list[tuple[int, Floats]] = []
    try:
        _shift(logprobs, [row.bias() for row in rows], patches)
        _shift(logprobs, _repetitions(rows, logits_of), patches)
        _shift(logprobs, [row.penalties() for row in rows], patches)
        _ban(logprobs, [row.banned() for row in rows], patches)
        for r, row in enumerate(rows):
            if row.params.allowed_token_ids is not None:
                whole_rows.append((r, logprobs[r].copy()))
                _allow_only(logprobs[r], row.params.allowed_token_ids)
        yield
    finally:
        for r, saved in whole_rows:
            logprobs[r] = saved
        for patch in reversed(patches):
            logprobs[patch.rows, patch.ids] = patch.saved


def _repetitions(
    rows: Sequence[SampleState], logits_of: LogitsOf
) -> list[tuple[Ids, Floats] | None]:
    signed = [r for r, row in enumerate(rows) if row.params.repetition_penalty != 1]
    shifts: list[tuple[Ids, Floats] | None] = [None] * len(rows)
    if signed:
        for r, logits in zip(signed, logits_of(signed), strict=True):
            shifts[r] = rows[r].repetition(logits)
    return shifts


def _shift(
    logprobs: Floats, shifts: Sequence[tuple[Ids, Floats] | None], patches: list[_Patch]
) -> None:
    """Add each row's shifts (distinct ids) to its tokens, noting what was there."""
    parts = [(r, *shift) for r, shift in enumerate(shifts) if shift is not None and len(shift[0])]
    if not parts:
        return
    rows = np.repeat([r for r, _, _ in parts], [len(ids) for _, ids, _ in parts])
    ids = np.concatenate([ids for _, ids, _ in parts])
    saved = logprobs[rows, ids]
    patches.append(_Patch(rows, ids, saved))
    logprobs[rows, ids] = saved + np.concatenate([values for _, _, values in parts])


def _ban(logprobs: Floats, bans: Sequence[Ids], patches: list[_Patch]) -> None:
    rows = np.repeat(np.arange(len(bans)), [len(ids) for ids in bans])
    if len(rows):
        ids = np.concatenate(bans)
        patches.append(_Patch(rows, ids, logprobs[rows, ids]))
        logprobs[rows, ids] = -np.inf


def _allow_only(row: Floats, allowed: Sequence[int]) -> None:
    ids = np.array(allowed, np.int64)
    kept = row[ids]
    row[:] = -np.inf
    row[ids] = kept
