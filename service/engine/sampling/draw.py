"""Drawing a token for each row, by settings of its own and random numbers of its own.

Random numbers are counter-based: a draw depends on its key (seed, prompt, sample) and position
alone, never on what was drawn before, so that a continuation is the same in any batch. The mixer is
SplitMix64's finaliser (Steele, Lea & Flood 2014), applied once for each part of the key.

From the most probable tokens, sums run down from the largest, so they do not depend on how many
candidates there are. From the whole vocabulary nothing is sorted, however wide the nucleus: a token
is drawn from all and taken if the tokens before it, in descending order of probability, have less
than top_p of the mass; otherwise the next draw is among those before it, which hold the nucleus
(Xing et al. 2025, Sorting-Free GPU Kernels for LLM Sampling, do so in FlashInfer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from service.engine.sampling.logits_processors import SampleState
from service.engine.sampling.softmax_sums import Arena, Doubles, Exponentials, Ids
from service.engine.sampling.top_candidates import Candidates

_MASK = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ATTEMPT = 1 << 40  # positions of a stream are fewer


def _mix(value: int) -> int:
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _mix_each(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`_mix` of each; the products of unsigned integers wrap around by themselves."""
    values = values + np.uint64(_GOLDEN)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


def stream_key(seed: int, *parts: int) -> int:
    """64-bit key of a stream; any integers will do, and their order matters."""
    key = _mix(seed & _MASK)
    for part in (seed >> 64, *parts):
        key = _mix(key ^ (part & _MASK))
    return key


def uniforms(
    keys: NDArray[np.uint64], positions: NDArray[np.uint64], attempt: int = 0
) -> NDArray[np.float64]:
    """Uniform in [0, 1), 53 bits, at one position of each stream, (R,).

    attempt: there are so many draws for one position that a draw may be repeated there.
    """
    counters = positions + np.uint64(attempt * _ATTEMPT)
    bits = _mix_each(keys ^ _mix_each(counters)) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def uniform(key: int, position: int, attempt: int = 0) -> float:
    """The same for one stream."""
    return (_mix(key ^ _mix(position + attempt * _ATTEMPT)) >> 11) * 2.0**-53


COLDEST = 1e-4  # below it a temperature is 0: its inverse would leave float32
_FEW = 64  # candidates that most nuclei lie within


def num_candidates(top_k: int, vocab: int) -> int:
    """Among how many of its most probable tokens a row is drawn first, if at all."""
    size = min(_FEW, vocab)
    while size < top_k < vocab:
        size = min(4 * size, vocab)
    return size


@dataclass(frozen=True, slots=True)
class RowSettings:
    """Arrays (R,). A filter that is off has a value that keeps everything.

    inverse: 1 / temperature. num_candidates: among how many of the most probable tokens a row is
    drawn first; 0 for none. only_top_p: where nothing else truncates, so that the nucleus is a
    share of the whole vocabulary. pure: where nothing does.
    """

    keys: NDArray[np.uint64]
    inverse: NDArray[np.float64]
    greedy: NDArray[np.bool_]
    pure: NDArray[np.bool_]
    top_k: NDArray[np.int64]
    top_p: NDArray[np.float64]
    min_p: NDArray[np.float64]
    typical_p: NDArray[np.float64]
    num_candidates: NDArray[np.int64]
    only_top_p: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[SampleState], vocab: int) -> RowSettings:
        params = [row.rules.params for row in rows]
        temperatures = np.array([p.temperature for p in params])
        greedy = temperatures < COLDEST
        top_k = np.array([min(p.top_k or vocab, vocab) for p in params], np.int64)
        filters = np.array([(p.top_p, p.min_p, p.typical_p) for p in params])
        top_p, min_p, typical_p = filters.reshape(-1, 3).T.copy()
        sizes = np.array([num_candidates(k, vocab) for k in top_k.tolist()], np.int64)
        any_k, any_typical = top_k == vocab, typical_p >= 1
        pure = any_k & any_typical & (top_p >= 1) & (min_p <= 0) & ~greedy
        return cls(
            keys=np.array([row.key for row in rows], np.uint64),
            inverse=1 / np.where(greedy, 1, temperatures),
            greedy=greedy,
            pure=pure,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            # Without top_k a typical set may lie anywhere.
            num_candidates=np.where(greedy | pure | (any_k & ~any_typical), 0, sizes),
            only_top_p=any_k & any_typical & (top_p < 1) & (min_p <= 0) & ~greedy,
        )

    @property
    def log_top_p(self) -> NDArray[np.float64]:
        result: NDArray[np.float64] = np.log(self.top_p)
        return result

    def rows(self, chosen: NDArray[np.int64]) -> RowSettings:
        return RowSettings(**{part.name: getattr(self, part.name)[chosen] for part in fields(self)})


def typical_tokens(exponentials: Doubles, typical_p: Doubles) -> NDArray[np.bool_]:
    """Which tokens stay, (R, C): those whose information is nearest to the entropy, up to the mass.

    exponentials: (R, C), of any sum; typical_p: (R,). Of equally near tokens the leftmost stay.
    """
    probabilities = exponentials / np.maximum(
        exponentials.sum(axis=1, keepdims=True), np.finfo(float).tiny
    )
    possible = probabilities > 0
    information = -np.log(probabilities, out=np.zeros_like(probabilities), where=possible)
    entropy = (probabilities * information).sum(axis=1, keepdims=True)
    distance = np.where(possible, np.abs(information - entropy), np.inf)
    order = np.argsort(distance, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1)
    inside = np.cumsum(ordered, axis=1) - ordered < typical_p[:, None]
    inside[:, 0] = True
    keep = np.zeros(exponentials.shape, bool)
    np.put_along_axis(keep, order, inside, axis=1)
    keep &= possible
    return keep


def draw_from_best(
    best: Candidates,
    settings: RowSettings,
    positions: NDArray[np.uint64],
    log_masses: Doubles,
    vocab: int,
) -> tuple[Ids, NDArray[np.bool_]]:
    """A token for each row, (R,), and where the candidates (R, C) sufficed to draw it.

    log_masses: where top_p alone truncates, ln of the sum of exp(value / temperature) over the
    whole vocabulary; anything elsewhere.
    """
    largest = best.values[:, :1].astype(np.float64)
    if np.isneginf(largest[:, 0]).any():  # nothing is left at all
        largest[np.isneginf(largest)] = 0
    scaled = (best.values - largest) * settings.inverse[:, None]
    exponentials = np.exp(scaled)
    count = best.values.shape[1]
    complete = (settings.top_k <= count) | (best.values[:, -1] == -np.inf) | (count == vocab)
    if settings.top_k.min() < count:
        exponentials[np.arange(count) >= settings.top_k[:, None]] = 0
    if settings.min_p.max() > 0:
        with np.errstate(divide="ignore"):
            outside = scaled < np.log(settings.min_p)[:, None]
        exponentials[outside] = 0
        complete |= outside[:, -1]
    if settings.typical_p.min() < 1:
        rows = np.flatnonzero(settings.typical_p < 1)
        exponentials[rows] *= typical_tokens(exponentials[rows], settings.typical_p[rows])
    ends = np.cumsum(exponentials, axis=1)
    totals = ends[:, -1]
    if settings.top_p.min() < 1:
        masses = np.exp(log_masses - largest[:, 0] * settings.inverse)
        limits = settings.top_p * np.where(settings.only_top_p, masses, totals)
        complete |= settings.only_top_p & (totals >= limits)
        size = (ends < limits[:, None]).sum(axis=1)
        totals = ends[np.arange(len(ends)), np.minimum(size, count - 1)]
    # Rounding must not carry a target to the very end, past the last token.
    targets = np.minimum(uniforms(settings.keys, positions) * totals, np.nextafter(totals, 0))
    places = np.minimum((ends <= targets[:, None]).sum(axis=1), count - 1)
    return best.ids[np.arange(len(places)), places], complete


def draw_from_all(
    exponentials: Exponentials,
    settings: RowSettings,
    positions: NDArray[np.uint64],
    vocab: int,
    arena: Arena,
) -> Ids:
    """A token for each row, (R,), by min_p, typical_p and top_p; `exponentials` are changed."""
    _truncate(exponentials, settings, vocab)
    limits = settings.top_p * exponentials.totals
    ids = exponentials.draw(uniforms(settings.keys, positions))
    open_rows = np.flatnonzero(settings.top_p < 1)
    exponentials, attempt = exponentials.rows(open_rows), 0
    while len(open_rows):
        before = exponentials.before(ids[open_rows], arena)
        outside = before.totals >= limits[open_rows]
        outside &= before.totals > 0
        rejected = np.flatnonzero(outside)
        open_rows, attempt = open_rows[rejected], attempt + 1
        exponentials = Exponentials(before.blocks[rejected], before.sums[rejected])
        keys = settings.keys[open_rows]
        ids[open_rows] = exponentials.draw(uniforms(keys, positions[open_rows], attempt))
    return ids


def _truncate(exponentials: Exponentials, settings: RowSettings, vocab: int) -> None:
    """Apply min_p and typical_p."""
    rows = np.flatnonzero(settings.min_p > 0)
    if len(rows):
        own = exponentials.of_vocabulary(rows, vocab)
        floors = settings.min_p[rows] * own.max(axis=1)
        exponentials.keep(rows, own >= floors[:, None])
    rows = np.flatnonzero(settings.typical_p < 1)
    if len(rows):
        own = exponentials.of_vocabulary(rows, vocab)
        mask = typical_tokens(own.astype(np.float64), settings.typical_p[rows])
        exponentials.keep(rows, mask)
