"""Log-probabilities -> tokens, for many rows with settings of their own.

Order of effects, vLLM's: biases and penalties, bans, temperature, min_p, top_k, typical_p, top_p.
Reported log-probabilities are always the model's own.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.engine.filters import (
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    top_candidates,
)
from service.engine.random_numbers import uniform
from service.engine.request import Floats, SamplingParams, TopLogprobs

_FEWEST_CANDIDATES = 64
_BLOCK = 128  # of the inverse cumulative distribution


@dataclass(slots=True)
class SampleState:
    """What a continuation brings to its own sampling.

    key: of its random stream; prompt: token ids before it; generated: those it has made so far.
    """

    params: SamplingParams
    key: int
    prompt: Sequence[int] = ()
    generated: list[int] = field(default_factory=list)
    counts: Counter[int] = field(default_factory=Counter)
    prompt_set: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if self.params.repetition_penalty != 1:
            self.prompt_set = frozenset(self.prompt)

    def append(self, token: int) -> None:
        self.generated.append(token)
        params = self.params
        if params.presence_penalty or params.frequency_penalty or params.repetition_penalty != 1:
            self.counts[token] += 1


@dataclass(frozen=True, slots=True)
class Sampled:
    """Chosen ids (R,), their ln P by the model (R,), and alternatives where asked for.

    An id is None where a row's settings exclude every token.
    """

    ids: list[int | None]
    logprobs: list[float]
    tops: list[TopLogprobs]


LogitsOf = Callable[[Sequence[int]], Floats]


def sample(logprobs: Floats, rows: Sequence[SampleState], logits_of: LogitsOf) -> Sampled:
    """Draw a token for each row of `logprobs` (R, V), which is changed and put back in between.

    logits_of: rows -> their logits (len, V); asked only where a repetition penalty needs signs.
    """
    with modified(logprobs, rows, logits_of):
        ids = _choose(logprobs, rows)
        possible = ~np.isneginf(logprobs[np.arange(len(rows)), ids])
    chosen = logprobs[np.arange(len(rows)), ids].tolist()
    drawn = [i if ok else None for i, ok in zip(ids.tolist(), possible.tolist(), strict=True)]
    return Sampled(drawn, chosen, top_logprobs(logprobs, [r.params.logprobs for r in rows]))


@contextlib.contextmanager
def modified(logprobs: Floats, rows: Sequence[SampleState], logits_of: LogitsOf) -> Iterator[None]:
    """Inside, `logprobs` carries biases, penalties and bans; afterwards it is as before."""
    signed = [r for r, row in enumerate(rows) if row.params.repetition_penalty != 1]
    logits = dict(zip(signed, logits_of(signed), strict=True)) if signed else {}
    undo = [_modify(logprobs, r, row, logits.get(r)) for r, row in enumerate(rows)]
    try:
        yield
    finally:
        for r, saved in enumerate(undo):
            if saved is not None:
                logprobs[r, saved[0]] = saved[1]


def top_logprobs(logprobs: Floats, counts: Sequence[int | None]) -> list[TopLogprobs]:
    """The most probable tokens of each row, as many as asked for."""
    largest = min(max((c or 0 for c in counts), default=0), logprobs.shape[1])
    if not largest:
        return [()] * len(counts)
    asked = [r for r, count in enumerate(counts) if count]
    best = top_candidates(logprobs[asked] if len(asked) < len(counts) else logprobs, largest)
    tops: list[TopLogprobs] = [()] * len(counts)
    for k, r in enumerate(asked):
        count = counts[r]
        ids, values = best.ids[k, :count].tolist(), best.values[k, :count].tolist()
        tops[r] = tuple(zip(ids, values, strict=True))
    return tops


Saved = tuple[NDArray[np.int64] | slice, Floats]


def _modify(logprobs: Floats, r: int, row: SampleState, logits: Floats | None) -> Saved | None:
    """Apply a row's biases, penalties and bans in place; returns what they overwrote."""
    params = row.params
    changes: dict[int, float] = dict(params.logit_bias)
    if logits is not None:
        seen = np.fromiter(row.prompt_set.union(row.counts), np.int64)
        before, penalty = logits[seen], params.repetition_penalty
        shifts = np.where(before > 0, before / penalty, before * penalty) - before
        for token, shift in zip(seen.tolist(), shifts.tolist(), strict=True):
            changes[token] = changes.get(token, 0.0) + shift
    if params.presence_penalty or params.frequency_penalty:
        for token, count in row.counts.items():
            loss = params.presence_penalty + params.frequency_penalty * count
            changes[token] = changes.get(token, 0.0) - loss
    for token in _banned(row):
        changes[token] = -np.inf
    if params.allowed_token_ids is not None:
        return _allow_only(logprobs, r, params.allowed_token_ids, changes)
    if not changes:
        return None
    ids = np.fromiter(changes, np.int64, len(changes))
    saved = logprobs[r, ids]
    logprobs[r, ids] = saved + np.fromiter(changes.values(), np.float32, len(changes))
    return ids, saved


def _allow_only(
    logprobs: Floats, r: int, allowed: Sequence[int], changes: dict[int, float]
) -> Saved:
    saved = logprobs[r].copy()
    logprobs[r] = -np.inf
    for token in allowed:
        logprobs[r, token] = saved[token] + changes.get(token, 0.0)
    return slice(None), saved


def _banned(row: SampleState) -> list[int]:
    params = row.params
    banned = list(params.suppressed_token_ids)
    if len(row.generated) < params.min_tokens:
        banned += params.stop_token_ids
    for word in params.bad_words:
        before = len(word) - 1
        history = [*row.prompt[-before:], *row.generated][-before:] if before else []
        if history == list(word[:-1]):
            banned.append(word[-1])
    return banned


def _choose(values: Floats, rows: Sequence[SampleState]) -> NDArray[np.int64]:
    """Ids for modified log-probabilities (R, V): greedy, truncated and free rows apart."""
    ids = np.empty(len(rows), np.int64)
    kinds = [_kind(row.params) for row in rows]
    for kind, choose in (("greedy", _greedy), ("truncated", _truncated), ("free", _free)):
        members = [r for r, own in enumerate(kinds) if own == kind]
        if members:
            part = values if len(members) == len(rows) else values[members]
            ids[members] = choose(part, [rows[r] for r in members])
    return ids


def _kind(params: SamplingParams) -> str:
    if params.temperature == 0:
        return "greedy"
    cut = params.top_k > 0 or params.top_p < 1 or params.min_p > 0 or params.typical_p < 1
    return "truncated" if cut else "free"


def _greedy(values: Floats, rows: Sequence[SampleState]) -> NDArray[np.int64]:
    del rows
    ids: NDArray[np.int64] = values.argmax(axis=1)
    return ids


def _uniforms(rows: Sequence[SampleState]) -> NDArray[np.float64]:
    return np.array([uniform(row.key, len(row.generated)) for row in rows])


def _scaled(values: Floats, rows: Sequence[SampleState]) -> Floats:
    """values / temperature with the largest of each row at 0; a new array."""
    inverse = np.array([1 / row.params.temperature for row in rows], np.float32)
    largest = values.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        scaled: Floats = (values - largest) * inverse[:, None]
    return scaled


def _free(values: Floats, rows: Sequence[SampleState]) -> NDArray[np.int64]:
    """Inverse of the cumulative distribution: find the block, then the token in it."""
    count, vocab = values.shape
    weights = np.zeros((count, -(-vocab // _BLOCK) * _BLOCK), np.float32)
    np.exp(_scaled(values, rows), out=weights[:, :vocab])
    sums = weights.reshape(count, -1, _BLOCK).sum(axis=2)
    ends = np.cumsum(sums, axis=1, dtype=np.float64)
    targets = _uniforms(rows) * ends[:, -1]
    ids = np.empty(count, np.int64)
    for r, target in enumerate(targets):
        block = int(np.searchsorted(ends[r], target, side="right"))
        start = block * _BLOCK
        inside = np.cumsum(weights[r, start : start + _BLOCK], dtype=np.float64)
        rest = target - (ends[r, block - 1] if block else 0.0)
        place = min(int(np.searchsorted(inside, rest, side="right")), _BLOCK - 1)
        while place and weights[r, start + place] == 0:  # rounding may pass the last possible one
            place -= 1
        ids[r] = start + place
    return ids


def _truncated(values: Floats, rows: Sequence[SampleState]) -> NDArray[np.int64]:
    """Rows with any of min_p, top_k, typical_p, top_p."""
    params = [row.params for row in rows]
    if any(p.typical_p < 1 for p in params):
        values = _typical_rows(values, params)
    vocab = values.shape[1]
    most = max((p.top_k for p in params), default=0)
    count = min(max(most, _FEWEST_CANDIDATES), vocab)
    ids = np.full(len(rows), -1, np.int64)
    pending = np.arange(len(rows))
    while len(pending):
        part = values if len(pending) == len(rows) else values[pending]
        mine = [rows[r] for r in pending.tolist()]
        ids[pending], complete = _draw(part, mine, count)
        pending = pending[~complete]
        count = min(8 * count, vocab)
    return ids


def _typical_rows(values: Floats, params: Sequence[SamplingParams]) -> Floats:
    values = values.copy()
    for r, p in enumerate(params):
        if p.typical_p < 1:
            # The filter looks at the distribution that temperature and top_k leave.
            scaled = (values[r] - values[r].max()) / np.float32(p.temperature)
            if p.top_k:
                kept = top_candidates(scaled[None], min(p.top_k, len(scaled))).ids[0, : p.top_k]
                mask = np.ones(len(scaled), bool)
                mask[kept] = False
                scaled[mask] = -np.inf
            if p.min_p:
                scaled[scaled < np.log(p.min_p)] = -np.inf
            keep_typical(scaled, p.typical_p)
            values[r, np.isneginf(scaled)] = -np.inf
    return values


def _draw(
    values: Floats, rows: Sequence[SampleState], count: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Draw among `count` candidates a row; the second array tells where that many sufficed.

    Sums run from the most probable token on, so that a row's result does not depend on how many
    candidates its neighbours asked for.
    """
    params = [row.params for row in rows]
    best = top_candidates(values, count)
    inverse = np.array([1 / p.temperature for p in params])
    top_p = np.array([p.top_p for p in params])
    scaled = (best.values - best.values[:, :1]) * inverse[:, None]
    keep_min_p(scaled, np.array([p.min_p for p in params]))
    keep_top_k(scaled, np.array([p.top_k for p in params]))
    weights = np.exp(scaled)
    masses = np.cumsum(weights, axis=1)[:, -1]
    # Rows that min_p, top_k or typical_p cut are complete once the cut lies among the candidates;
    # of the others the candidates must hold top_p of the mass of the whole row.
    cut = np.array([p.min_p > 0 or p.top_k > 0 or p.typical_p < 1 for p in params])
    complete = np.isneginf(scaled[:, -1])
    if not cut.all():
        masses[~cut] = _whole_mass(values[~cut], inverse[~cut], best.values[~cut])
        weights /= masses[:, None]
        complete[~cut] = np.cumsum(weights[~cut], axis=1)[:, -1] >= top_p[~cut]
    else:
        weights /= masses[:, None]
    complete |= best.values.shape[1] == values.shape[1]
    keep_top_p(weights, top_p)
    ends = np.cumsum(weights, axis=1)
    targets = _uniforms(rows) * ends[:, -1]
    place = (ends <= targets[:, None]).sum(axis=1)
    place = np.minimum(place, np.count_nonzero(weights, axis=1) - 1)
    return best.ids[np.arange(len(rows)), place], complete


def _whole_mass(values: Floats, inverse: NDArray[np.float64], best: Floats) -> NDArray[np.float64]:
    """Sum over the whole row of exp((value - largest) / temperature), (R,)."""
    shifted = (values - best[:, :1]) * inverse[:, None].astype(np.float32)
    mass: NDArray[np.float64] = np.exp(shifted, out=shifted).sum(axis=1, dtype=np.float64)
    return mass
