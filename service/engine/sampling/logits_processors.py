"""Biases, penalties and bans on log-probabilities: put on before a draw, taken off after it.

They touch few tokens of a row, so they are applied in place, for all rows of one kind at once, and
undone afterwards: a copy of (R, V) would cost more than the sampling. What stays the same from draw
to draw is found once: for a request, for a prompt, or for a batch of rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats, SamplingParams
from service.engine.sampling.bad_words import BadWords
from service.engine.sampling.guides import GuideState, Words

Logits = Callable[[], Floats]  # (R, V), of the rows in question
Ids = NDArray[np.int64]
Patch = tuple[Ids, Floats]


class SamplingRules:
    """A request's settings in the form that draws need, for all of its continuations."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        self.stops = frozenset(params.stop_token_ids)
        self.stop_ids = np.array(params.stop_token_ids, np.int64)
        self.suppressed = np.array(params.suppressed_token_ids, np.int64)
        self.bias: Patch | None = None
        if params.logit_bias:
            ids = np.fromiter(params.logit_bias, np.int64)
            self.bias = ids, np.fromiter(params.logit_bias.values(), np.float32)
        self.bad_words = BadWords(params.bad_words) if params.bad_words else None
        self.has_presence = bool(params.presence_penalty or params.frequency_penalty)
        self.has_repetition = params.repetition_penalty != 1
        self.looks_back = bool(
            params.min_tokens or self.bad_words or self.has_presence or self.has_repetition
        )
        self.only_lowers = (
            not params.logit_bias
            and not self.has_repetition
            and params.presence_penalty >= 0
            and params.frequency_penalty >= 0
        )
        self._excluded: dict[int, Ids] = {}
        self._dense_bias: dict[int, Floats] = {}

    def excluded(self, vocab: int) -> Ids:
        """Tokens that are never drawn, because they are suppressed or not allowed; distinct."""
        known = self._excluded.get(vocab)
        if known is None:
            allowed = self.params.allowed_token_ids
            never = np.full(vocab, allowed is not None)
            never[list(allowed or ())] = False
            never[self.suppressed] = True
            known = self._excluded[vocab] = np.flatnonzero(never)
        return known

    def dense_bias(self, vocab: int) -> Floats:
        """The bias of every token, (V,)."""
        known = self._dense_bias.get(vocab)
        if known is None:
            known = self._dense_bias[vocab] = np.zeros(vocab, np.float32)
            if self.bias is not None:
                known[self.bias[0]] = self.bias[1]
        return known


class PromptTokens:
    """What the continuations of one prompt share.

    ids: its distinct tokens, where a repetition penalty asks for them; bad_words: the automaton's
    state after it; guide: what the continuations must spell, at its beginning.
    """

    def __init__(
        self, rules: SamplingRules, prompt: Sequence[int] = (), guide: GuideState | None = None
    ) -> None:
        self.guide = guide
        self.ids = np.zeros(0, np.int64)
        if rules.has_repetition and prompt:
            self.ids = np.unique(np.array(prompt, np.int64))
        self.members = frozenset(self.ids.tolist())
        self.bad_words = rules.bad_words.after(prompt) if rules.bad_words else 0


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


class SampleState:
    """What a continuation brings to its own sampling.

    key: of its random stream; prompt: what is known of the tokens before it; generated: the token
    ids it has made so far. penalised: those of them that presence and frequency penalties lower;
    repeated: distinct tokens of prompt and continuation, where a repetition penalty asks for them.
    """

    __slots__ = (
        "_bad_words", "_is_followed", "_own", "generated", "guide", "key", "penalised", "prompt",
        "rules",
    )  # fmt: skip

    def __init__(self, rules: SamplingRules, key: int, prompt: PromptTokens) -> None:
        params = rules.params
        self.rules, self.key, self.prompt = rules, key, prompt
        self.generated: list[int] = []
        self.penalised = SeenTokens(params.presence_penalty, params.frequency_penalty)
        self._own = SeenTokens()
        self._bad_words = prompt.bad_words
        self.guide = None if prompt.guide is None else prompt.guide.copy()
        # Whether what is drawn next depends on what was drawn before, beyond the network.
        self._is_followed = (
            rules.has_presence
            or rules.has_repetition
            or rules.bad_words is not None
            or self.guide is not None
        )

    @classmethod
    def of(
        cls,
        params: SamplingParams,
        key: int,
        prompt: Sequence[int] = (),
        generated: Sequence[int] = (),
    ) -> SampleState:
        """One that shares nothing."""
        rules = SamplingRules(params)
        state = cls(rules, key, PromptTokens(rules, prompt))
        for token in generated:
            state.append(token)
        return state

    def append(self, token: int) -> None:
        self.generated.append(token)
        if not self._is_followed:
            return
        rules = self.rules
        if rules.has_presence:
            self.penalised.add(token)
        if rules.has_repetition and token not in self.prompt.members:
            self._own.add(token)
        if rules.bad_words is not None:
            self._bad_words = rules.bad_words.step(self._bad_words, token)
        if self.guide is not None:
            self.guide.advance(token)

    @property
    def repeated(self) -> Ids:
        return np.concatenate([self.prompt.ids, self._own.ids])

    def banned_now(self) -> Ids:
        """Tokens that must not be drawn at this position, besides those excluded at any."""
        rules = self.rules
        parts = []
        if len(self.generated) < rules.params.min_tokens:
            parts.append(rules.stop_ids)
        if rules.bad_words is not None:
            parts.append(np.array(rules.bad_words.banned(self._bad_words), np.int64))
        return np.concatenate(parts) if parts else _NONE


_NONE = np.zeros(0, np.int64)
_MASKED_AT_ONCE = 8  # rows, which stay in a processor's second-level cache
# For each byte of a mask the upper bounds of eight values, infinite where they are allowed: a mask
# of single tokens would take ten times as long to apply.
_BOUNDS = np.where(
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"),
    np.float32(np.inf),
    np.float32(-np.inf),
)


class LogitsProcessors:
    """Those of the rows of a batch (R, vocab), for as many draws as it stays the same.

    only_lower: none of them raises a value. guided: (R,), rows that may have few tokens left.
    """

    def __init__(self, rows: Sequence[SampleState], vocab: int) -> None:
        self._rows, self._vocab = rows, vocab
        each, rules = range(len(rows)), [row.rules for row in rows]
        biased = [r for r in each if rules[r].bias is not None]
        self._repeating = [r for r in each if rules[r].has_repetition]
        self._penalised = [r for r in each if rules[r].has_presence]
        self._changing = [r for r in each if rules[r].params.min_tokens or rules[r].bad_words]
        self._excluded = self._places(each, [own.excluded(vocab) for own in rules])
        biases = [own.bias for own in rules if own.bias is not None]
        self._bias_places = self._places(biased, [ids for ids, _ in biases])
        self._biases = np.concatenate([values for _, values in biases]) if biases else None
        self._guided = [r for r in each if rows[r].guide is not None]
        guides = [(rows[r].guide, rules[r].stop_ids) for r in self._guided]
        self._endings = [guide.guides.endings(stops) for guide, stops in guides if guide]
        self._unguided = np.empty((len(self._guided), vocab), np.float32)
        self.guided = np.zeros(len(rows), np.bool_)
        self.guided[self._guided] = True
        self.only_lower = all(own.only_lowers for own in rules) and not self._guided

    @contextlib.contextmanager
    def applied(
        self, logprobs: Floats, logits: Logits, *, in_place: bool = True
    ) -> Iterator[tuple[Floats, list[Patch]]]:
        """Inside, `logprobs` (R, V), contiguous, is processed; afterwards it is as before.

        Gives the processed values and what was there: places in the flattened array and their
        values, kind after kind. logits: asked only where a repetition penalty needs their signs.
        in_place: whether the values must be in `logprobs` itself. Where all rows are guided they
        come cheaper in an array of their own, valid until the next call.
        """
        assert logprobs.flags.c_contiguous
        flat = logprobs.reshape(-1)
        patches: list[Patch] = []
        is_masked, values = False, logprobs
        try:
            for places, shifts in self._shifts(logits):
                saved = flat[places]
                patches.append((places, saved))
                flat[places] = saved + shifts
            for places in self._bans():
                patches.append((places, flat[places]))
                flat[places] = -np.inf
            if self._guided:
                # Most tokens of these rows may be excluded: whole rows are put aside.
                words = self._allowed()
                if not in_place and len(self._guided) == len(logprobs):
                    values = self._unguided
                    for part, bounds in self._bounds(words):
                        np.minimum(logprobs[part], bounds, out=values[part])
                else:
                    is_masked = True
                    self._mask(logprobs, words)
            yield values, patches
        finally:
            if is_masked:
                self._unmask(logprobs)
            for places, saved in reversed(patches):
                flat[places] = saved

    def _allowed(self) -> Words:
        """Which tokens the guides of guided rows allow, (guided rows, V / 32)."""
        words = np.empty((len(self._guided), -(-self._vocab // 32)), np.uint32)
        for own, r, endings in zip(words, self._guided, self._endings, strict=True):
            guide = self._rows[r].guide
            assert guide is not None
            if guide.allow(own):
                own |= endings
        return words

    def _mask(self, logprobs: Floats, words: Words) -> None:
        """Exclude what is not allowed from guided rows."""
        for part, bounds in self._bounds(words):
            rows, values = self._guided[part], self._unguided[part]
            logprobs.take(rows, axis=0, out=values, mode="clip")
            logprobs[rows] = np.minimum(values, bounds, out=bounds)

    def _bounds(self, words: Words) -> Iterator[tuple[slice, Floats]]:
        """Upper bounds (rows, V) of the values of some guided rows after the other."""
        for start in range(0, len(words), _MASKED_AT_ONCE):
            part = slice(start, start + _MASKED_AT_ONCE)
            bounds = _BOUNDS.take(words[part].view(np.uint8), axis=0)
            yield part, bounds.reshape(len(bounds), -1)[:, : self._vocab]

    def _unmask(self, logprobs: Floats) -> None:
        if len(self._guided) == len(logprobs):
            logprobs[:] = self._unguided
        else:
            logprobs[self._guided] = self._unguided

    def _shifts(self, logits: Logits) -> Iterator[Patch]:
        """Kind after kind, distinct places in the flattened array and what to add to them."""
        rows = self._rows
        if self._biases is not None:
            yield self._bias_places, self._biases
        if self._repeating:
            yield self._repetition(logits())
        if self._penalised:
            seen = [rows[r].penalised for r in self._penalised]
            places = self._places(self._penalised, [tokens.ids for tokens in seen])
            yield places, np.concatenate([tokens.shifts for tokens in seen])

    def _repetition(self, logits: Floats) -> Patch:
        """The repetition penalty as shifts; it looks at the signs of the biased logits (R, V)."""
        rows = [self._rows[r] for r in self._repeating]
        ids = [row.repeated for row in rows]
        places = self._places(self._repeating, ids)
        before = logits.reshape(-1)[places]
        if any(row.rules.bias is not None for row in rows):
            dense = [row.rules.dense_bias(self._vocab) for row in rows]
            before += np.concatenate([b[own] for b, own in zip(dense, ids, strict=True)])
        penalties = np.array([row.rules.params.repetition_penalty for row in rows], np.float32)
        penalty = np.repeat(penalties, [len(own) for own in ids])
        return places, np.where(before > 0, before / penalty, before * penalty) - before

    def _bans(self) -> Iterator[Ids]:
        if len(self._excluded):
            yield self._excluded
        if self._changing:
            yield self._places(self._changing, [self._rows[r].banned_now() for r in self._changing])

    def _places(self, rows: Sequence[int], ids: Sequence[Ids]) -> Ids:
        """Places in the flattened array of each row's ids."""
        if not ids:
            return _NONE
        starts = np.array(rows, np.int64) * self._vocab
        return np.concatenate(ids) + np.repeat(starts, [len(part) for part in ids])


@contextlib.contextmanager
def processed(
    logprobs: Floats, rows: Sequence[SampleState], logits: Logits
) -> Iterator[list[Patch]]:
    """`LogitsProcessors.applied`, in place, for rows that are drawn from once."""
    with LogitsProcessors(rows, logprobs.shape[1]).applied(logprobs, logits) as (_, patches):
        yield patches
