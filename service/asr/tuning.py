"""Weights found by search on scores computed once; models kept or not by cross-validation.

A configuration says which language models take part. Its candidates are the points of one grid,
made from the scores' own spreads, so that the units of the lists do not matter:

    total = acoustic + scale * (fixed + sum_k share_k * source_k) + length_bonus * words

Of each candidate and utterance two numbers are kept: the errors of the best hypothesis, and the
expected errors under the posteriors, which change smoothly. Training minimises their mean. All
folds choose from the same candidates, so cross-validation, also the nested one that chooses the
configuration, is sums over folds.
Minimum-risk training of log-linear weights: Och 2003; Smith and Eisner 2006.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.asr.hypotheses import LM, MODEL
from service.asr.tuning_data import NGRAM, Floats, TuningData

SCALES = tuple(2.0 ** (step / 2) for step in range(-7, 8))  # of the spreads' ratio
BONUSES = tuple(
    sign * size for size in (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.4, 2.0, 3.0) for sign in (1, -1)
)[1:]
SHARES = (0.15, 0.3, 0.5, 0.7, 0.85)
MIXING_SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
_CHUNK = 1 << 22  # totals computed at a time


@dataclass(frozen=True, slots=True)
class Configuration:
    """Language models that take part. sources: combined log-linearly; a pair in it is a linear
    mixture of two, word by word."""

    name: str
    sources: tuple[str | tuple[str, str], ...]

    @property
    def num_models(self) -> int:
        return sum(1 if isinstance(own, str) else 2 for own in self.sources)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A point of the grid. shares: of the configuration's sources; mixing: of a pair's first."""

    scale: float
    shares: tuple[float, ...]
    length_bonus: float
    mixing: float | None = None


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A configuration's candidates and, (U, C), what each does to every utterance.

    chosen: (U, C) index of the best hypothesis.
    """

    configuration: Configuration
    candidates: list[Candidate]
    chosen: NDArray[np.int32]
    errors: NDArray[np.float32]
    objective: NDArray[np.float32]


CONTROL = "control"


def configurations(data: TuningData) -> list[Configuration]:
    """The control first (what the lists bring, retuned), then everything that can be kept."""
    old = (LM,) if LM in data.sources else ()
    ours = [name for name in (MODEL, NGRAM) if name in data.sources]
    found = [Configuration(CONTROL, old)]
    for size in range(1, len(ours) + 1):
        for kept in itertools.combinations(ours, size):
            found.append(Configuration("+".join(kept), kept))
            if old:
                found.append(Configuration("+".join((*old, *kept)), (*old, *kept)))
    words = [name for name in (MODEL, NGRAM, LM) if name in data.by_word]
    for pair in itertools.combinations(words, 2):
        name = f"mix({pair[0]},{pair[1]})"
        found.append(Configuration(name, (pair,)))
        if old and LM not in pair:
            found.append(Configuration(f"{LM}+{name}", (LM, pair)))
    return sorted(found, key=lambda own: own.num_models)


def evaluate(data: TuningData, configuration: Configuration) -> Evaluated:
    """Every candidate of a configuration on every utterance."""
    parts = [_evaluate(data, *own) for own in _directions(data, configuration)]
    return Evaluated(
        configuration,
        [own for candidates, *_ in parts for own in candidates],
        np.concatenate([own for _, own, _, _ in parts], axis=1),
        np.concatenate([own for _, _, own, _ in parts], axis=1),
        np.concatenate([own for _, _, _, own in parts], axis=1),
    )


def _directions(
    data: TuningData, configuration: Configuration
) -> Iterator[tuple[Floats, tuple[float, ...], float | None]]:
    """(U, N) combined language model scores for all shares, and the shares."""
    pair = next((own for own in configuration.sources if not isinstance(own, str)), None)
    for mixing in (None,) if pair is None else MIXING_SHARES:
        sources = [
            data.sources[own]
            if isinstance(own, str)
            else data.mixture(own[0], own[1], mixing or 0.0)
            for own in configuration.sources
        ]
        for shares in _simplex(len(sources)):
            combined = sum(
                (share * own for share, own in zip(shares, sources, strict=True)),
                np.zeros(data.shape),
            )
            yield data.fixed + combined, shares, mixing


def _simplex(count: int) -> list[tuple[float, ...]]:
    """Shares of `count` sources, each above 0, that sum to 1."""
    if count == 0:
        return [()]
    if count == 1:
        return [(1.0,)]
    if count == 2:
        return [(1 - share, share) for share in SHARES]
    return [
        (round(1 - a - b, 3), a, b)
        for a, b in itertools.product((0.15, 0.3, 0.5, 0.7), repeat=2)
        if a + b < 0.95
    ]


def _evaluate(
    data: TuningData, lm: Floats, shares: tuple[float, ...], mixing: float | None
) -> tuple[list[Candidate], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    """One direction: every scale and length bonus."""
    grid = [
        Candidate(scale, shares, bonus, mixing)
        for scale, bonus in itertools.product(_scales(data, lm), _bonuses(data, lm))
    ]
    num_lists, width = data.shape
    step = max(1, _CHUNK // (num_lists * width))
    errors = np.minimum(data.total_errors(), 1 << 20).astype(np.float32)
    parts = [
        _evaluate_some(data, lm, errors, grid[at : at + step]) for at in range(0, len(grid), step)
    ]
    chosen, wrong, objective = (np.concatenate(own, axis=1) for own in zip(*parts, strict=True))
    return grid, chosen, wrong, objective


def _evaluate_some(
    data: TuningData, lm: Floats, errors: NDArray[np.float32], grid: Sequence[Candidate]
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    scales = np.array([own.scale for own in grid])
    bonuses = np.array([own.length_bonus for own in grid])
    totals = data.acoustic[..., None] + lm[..., None] * scales + data.num_words[..., None] * bonuses
    totals[~data.is_there] = -np.inf
    chosen = totals.argmax(axis=1).astype(np.int32)
    wrong = np.take_along_axis(errors, chosen, axis=1)
    # As probabilities: the language model's weight in them is 1, or less where it has little.
    width = np.maximum(scales, _typical_scale(data, lm))
    scaled = ((totals - totals.max(axis=1, keepdims=True)) / width).astype(np.float32)
    weights = np.exp(scaled)
    expected = (weights * np.where(data.is_there, errors, 0.0)[..., None]).sum(axis=1)
    expected /= weights.sum(axis=1)
    return chosen, wrong, ((wrong + expected) / 2).astype(np.float32)


def _spread(values: Floats, data: TuningData) -> float:
    """Median distance of a list's hypotheses from its first one."""
    differences = np.abs(values - values[:, :1])[data.is_there]
    apart = differences[differences > 1e-9]
    return float(np.median(apart)) if len(apart) else 0.0


def _typical_scale(data: TuningData, lm: Floats) -> float:
    """Where the language model weighs as much as the recogniser's score."""
    acoustic, spread = _spread(data.acoustic, data), _spread(lm, data)
    return (acoustic or 1.0) / spread if spread else acoustic or 1.0


def _scales(data: TuningData, lm: Floats) -> tuple[float, ...]:
    typical = _typical_scale(data, lm) if _spread(lm, data) else 0.0
    return tuple(scale * typical for scale in SCALES) if typical else (0.0,)


def _bonuses(data: TuningData, lm: Floats) -> tuple[float, ...]:
    unit = _spread(data.acoustic, data) or _spread(lm, data)
    return tuple(unit * own for own in BONUSES)


# Cross-validation


def make_folds(groups: NDArray[np.int64], count: int = 10) -> NDArray[np.int64]:
    """(U,): the fold of each utterance; a group is in one fold, the folds are of like size."""
    numbers, sizes = np.unique(groups, return_counts=True)
    if len(numbers) < 2:
        raise ValueError("cross-validation needs lists of at least two utterances or speakers")
    count = min(count, len(numbers))
    shuffled = np.random.default_rng(0).permutation(len(numbers))
    fold_of: dict[int, int] = {}
    filled = np.zeros(count, np.int64)
    for index in sorted(shuffled, key=lambda own: -sizes[own]):
        fold = int(filled.argmin())
        fold_of[int(numbers[index])] = fold
        filled[fold] += sizes[index]
    return np.array([fold_of[int(group)] for group in groups])


def fold_sums(values: NDArray[np.float32], folds: NDArray[np.int64]) -> Floats:
    """(K, C): sums over each fold's utterances."""
    return np.stack(
        [values[folds == fold].sum(axis=0, dtype=np.float64) for fold in range(folds.max() + 1)]
    )


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """What held-out utterances got. chosen: (U,), the hypothesis of each, by weights that were
    found without its fold. errors: their sum, for comparing configurations."""

    chosen: NDArray[np.int64]
    errors: float


class CrossValidation:
    """Configurations on the same folds."""

    def __init__(self, evaluated: Sequence[Evaluated], folds: NDArray[np.int64]) -> None:
        self._folds = folds
        self._all = list(range(int(folds.max()) + 1))
        self.evaluated = list(evaluated)
        self._objective = [fold_sums(own.objective, folds) for own in evaluated]
        self._errors = [fold_sums(own.errors, folds) for own in evaluated]

    def of(self, index: int) -> CrossValidated:
        """One configuration: each fold by the weights of the others."""
        return self._gather(dict.fromkeys(self._all, index))

    def nested(self) -> tuple[CrossValidated, Mapping[int, int]]:
        """The whole procedure: each fold by the configuration and weights that the others choose.

        Also by fold the configuration chosen."""
        choice = {fold: self.choose(self._without(fold)) for fold in self._all}
        return self._gather(choice), choice

    def choose(self, folds: Sequence[int] | None = None) -> int:
        """The configuration that does best on held-out parts of `folds`; the simpler of equals."""
        folds = self._all if folds is None else folds
        if len(folds) < 2:
            return 0
        errors = [
            sum(
                self._errors[index][
                    fold, self._best(index, [other for other in folds if other != fold])
                ]
                for fold in folds
            )
            for index in range(len(self.evaluated))
        ]
        return int(np.argmin(errors))

    def best_weights(self, index: int) -> Candidate:
        """A configuration's weights, found on everything."""
        return self.evaluated[index].candidates[self._best(index, self._all)]

    def _without(self, fold: int) -> list[int]:
        return [other for other in self._all if other != fold]

    def _best(self, index: int, folds: Sequence[int]) -> int:
        return int(self._objective[index][list(folds)].sum(axis=0).argmin())

    def _gather(self, choice: Mapping[int, int]) -> CrossValidated:
        chosen = np.zeros(len(self._folds), np.int64)
        errors = 0.0
        for fold, index in choice.items():
            candidate = self._best(index, self._without(fold))
            own = self._folds == fold
            chosen[own] = self.evaluated[index].chosen[own, candidate]
            errors += float(self._errors[index][fold, candidate])
        return CrossValidated(chosen, errors)
