"""Biases, penalties and bans on log-probabilities: put on before a draw, taken off after it.

They touch few tokens of a row, so they are applied in place, for all rows of one kind at once, and
undone afterwards: a copy of (R, V) would cost more than the sampling. What stays the same from draw
to draw is found once for a batch of rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats, SamplingParams

LogitsOf = Callable[[Sequence[int]], Floats]
Ids = NDArray[np.int64]
Patch = tuple[Ids, Floats]


class SeenTokens:
    """Distinct tokens and a shift for each, as growing arrays: -(once + each * occurrences)."""

    __slots__ = ("_capacity", "_each", "_occurrences", "_once", "_places", "ids", "shifts")

    def __init__(self, once: float = 0.0, each: float = 0.0) -> None:
        self._once, self._each = once, each
        self._places: dict[int, int] = {}
        self._occurrences: list[int] = []
        self._capacity = np.zeros(16, np.int64), np.zeros(16, np.float32)
        self.ids, self.shifts = self._capacity[0][:0], self._capacity[1][:0]

    def add(self, token: int) -> None:
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._occurrences):
            self._grow(place, token)
        self._occurrences[place] += 1
        self.shifts[place] = -(self._once + self._each * self._occurrences[place])

    def _grow(self, place: int, token: int) -> None:
        ids, shifts = self._capacity
        if place == len(ids):
            ids = np.concatenate([ids, np.zeros_like(ids)])
            shifts = np.concatenate([shifts, np.zeros_like(shifts)])
            self._capacity = ids, shifts
        ids[place] = token
        self._occurrences.append(0)
        # Views of what is in use, made here once and not at every draw.
        self.ids, self.shifts = ids[: place + 1], shifts[: place + 1]

    def __len__(self) -> int:
        return len(self._places)


@dataclass(slots=True, eq=False)
class SampleState:
    """What a continuation brings to its own sampling.

    key: of its random stream; prompt: token ids before it; generated: those it has made so far.
    """

    params: SamplingParams
    key: int
    prompt: Sequence[int] = ()
    generated: list[int] = field(default_factory=list)
    penalised: SeenTokens = field(init=False)
    _with_prompt: SeenTokens = field(init=False)
    bias: tuple[Ids, Floats] | None = None
    suppressed: Ids = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self.penalised = SeenTokens(params.presence_penalty, params.frequency_penalty)
        self._with_prompt = SeenTokens()
        if self.is_penalised or params.repetition_penalty != 1:
            for token in self.generated:
                self._count(token)
        if params.repetition_penalty != 1:
            for token in self.prompt:
                self._with_prompt.add(token)
        if params.logit_bias:
            ids = np.fromiter(params.logit_bias, np.int64)
            self.bias = ids, np.fromiter(params.logit_bias.values(), np.float32)
        self.suppressed = np.array(params.suppressed_token_ids, np.int64)

    def append(self, token: int) -> None:
        self.generated.append(token)
        self._count(token)

    def _count(self, token: int) -> None:
        params = self.params
        if self.is_penalised:
            self.penalised.add(token)
        if params.repetition_penalty != 1:
            self._with_prompt.add(token)

    @property
    def is_penalised(self) -> bool:
        """Whether there is a presence or a frequency penalty."""
        return bool(self.params.presence_penalty or self.params.frequency_penalty)

    @property
    def only_lowers(self) -> bool:
        """Whether no adjustment can raise a token."""
        params = self.params
        return (
            not params.logit_bias
            and params.repetition_penalty == 1
            and params.presence_penalty >= 0
            and params.frequency_penalty >= 0
        )

    def repetition(self, logits: Floats) -> tuple[Ids, Floats]:
        """The repetition penalty as shifts; it looks at the sign of the (biased) logits (V,)."""
        ids, penalty = self._with_prompt.ids, self.params.repetition_penalty
        before = logits[ids]
        if self.bias is not None:
            biases = dict(zip(*(part.tolist() for part in self.bias), strict=True))
            before = before + np.array([biases.get(t, 0.0) for t in ids.tolist()], np.float32)
        return ids, np.where(before > 0, before / penalty, before * penalty) - before

    def banned_now(self) -> Ids:
        """Tokens that must not be drawn at this position, besides those suppressed at any."""
        params = self.params
        now: list[int] = []
        if len(self.generated) < params.min_tokens:
            now += params.stop_token_ids
        for word in params.bad_words:
            if self._ends_with(word[:-1]):
                now.append(word[-1])
        return np.array(now, np.int64)

    def _ends_with(self, tokens: Sequence[int]) -> bool:
        size = len(tokens)
        if not size:
            return True
        history = list(self.generated[-size:])
        if missing := size - len(history):
            history = [*self.prompt[-missing:], *history]
        return history == list(tokens)


class Adjustments:
    """All adjustments of the rows of a batch (R, vocab), for as many draws as it stays the same."""

    def __init__(self, rows: Sequence[SampleState], vocab: int) -> None:
        self._rows, self._vocab = rows, vocab
        each = range(len(rows))
        self._biased = [r for r in each if rows[r].bias is not None]
        self._signed = [r for r in each if rows[r].params.repetition_penalty != 1]
        self._penalised = [r for r in each if rows[r].is_penalised]
        self._limited = [r for r in each if rows[r].params.allowed_token_ids is not None]
        self._changing = [r for r in each if rows[r].params.min_tokens or rows[r].params.bad_words]
        self._suppressed = self._places(each, [row.suppressed for row in rows])
        self.only_lower = all(row.only_lowers for row in rows)

    @contextlib.contextmanager
    def applied(self, logprobs: Floats, logits_of: LogitsOf) -> Iterator[list[Patch]]:
        """Inside, `logprobs` (R, V), contiguous, carries the adjustments; then it is as before.

        Gives what was there: places in the flattened array and their values, kind after kind.
        logits_of: rows -> their logits (len, V); asked only where a repetition penalty needs signs.
        """
        assert logprobs.flags.c_contiguous
        flat = logprobs.reshape(-1)
        patches: list[Patch] = []
        try:
            for places, shifts in self._shifts(logits_of):
                saved = flat[places]
                patches.append((places, saved))
                flat[places] = saved + shifts
            for places in self._bans():
                patches.append((places, flat[places]))
                flat[places] = -np.inf
            yield patches
        finally:
            for places, saved in reversed(patches):
                flat[places] = saved

    def _shifts(self, logits_of: LogitsOf) -> Iterator[tuple[Ids, Floats]]:
        """Kind after kind, distinct places in the flattened array and what to add to them."""
        rows = self._rows
        if self._biased:
            yield self._shift(self._biased, [rows[r].bias for r in self._biased])
        if self._signed:
            logits = logits_of(self._signed)
            parts = [rows[r].repetition(own) for r, own in zip(self._signed, logits, strict=True)]
            yield self._shift(self._signed, parts)
        if self._penalised:
            seen = [rows[r].penalised for r in self._penalised]
            places = self._places(self._penalised, [tokens.ids for tokens in seen])
            yield places, np.concatenate([tokens.shifts for tokens in seen])

    def _shift(
        self, rows: Sequence[int], parts: Sequence[tuple[Ids, Floats] | None]
    ) -> tuple[Ids, Floats]:
        known = [part for part in parts if part is not None]
        return self._places(rows, [ids for ids, _ in known]), np.concatenate(
            [shifts for _, shifts in known]
        )

    def _bans(self) -> Iterator[Ids]:
        yield self._suppressed
        rows = self._rows
        if self._changing:
            yield self._places(self._changing, [rows[r].banned_now() for r in self._changing])
        for r in self._limited:
            excluded = np.ones(self._vocab, bool)
            excluded[list(rows[r].params.allowed_token_ids or ())] = False
            yield self._places([r], [np.flatnonzero(excluded)])

    def _places(self, rows: Sequence[int], ids: Sequence[Ids]) -> Ids:
        """Places in the flattened array of each row's ids."""
        if not ids:
            return np.zeros(0, np.int64)
        starts = np.array(rows, np.int64) * self._vocab
        return np.concatenate(ids) + np.repeat(starts, [len(part) for part in ids])


def modified(
    logprobs: Floats, rows: Sequence[SampleState], logits_of: LogitsOf
) -> contextlib.AbstractContextManager[list[Patch]]:
    """`Adjustments.applied` for rows that are drawn from once."""
    return Adjustments(rows, logprobs.shape[1]).applied(logprobs, logits_of)
