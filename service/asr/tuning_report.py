"""What tuning is worth: error rates, with intervals, on utterances that the weights never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.asr.hypotheses import LM, MODEL
from service.asr.settings import Mixture, RescoringSettings
from service.asr.text_forms import TextForm
from service.asr.tuning import (
    CONTROL,
    Candidate,
    Configuration,
    CrossValidation,
    configurations,
    evaluate,
    make_folds,
)
from service.asr.tuning_data import TuningData
from service.asr.word_errors import WordErrors

_SAMPLES = 10_000
_NO_GAIN_ABOVE = 0.05  # chance that the gain is nothing

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """An error rate in percent with its 95% interval, and the errors that it is made of."""

    name: str
    wer: float
    interval: Interval
    errors: WordErrors


@dataclass(frozen=True, slots=True)
class Gain:
    """Of one system over another. absolute: points of error rate; relative: percent of the other's
    errors; chance_of_nothing: share of resamples without a gain."""

    absolute: float
    absolute_interval: Interval
    relative: float
    relative_interval: Interval
    chance_of_nothing: float

    @property
    def is_real(self) -> bool:
        return self.chance_of_nothing <= _NO_GAIN_ABOVE


@dataclass(frozen=True, slots=True)
class Choice:
    """A configuration with its weights, found on everything, and its cross-validated error rate."""

    configuration: Configuration
    candidate: Candidate
    wer: float


@dataclass(frozen=True)
class Report:
    """rows: first pass, control, tuned, oracle. over_control, over_first_pass: the tuned one's.
    chosen: what is kept; all_choices: by configuration, best first."""

    utterances: int
    groups: int
    rows: tuple[Row, ...]
    over_control: Gain
    over_first_pass: Gain
    control: Choice
    chosen: Choice
    all_choices: tuple[Choice, ...]

    @property
    def recommended(self) -> Choice:
        """The chosen configuration where it gains, else the control."""
        return self.chosen if self.over_control.is_real else self.control

    def to_dict(self) -> dict[str, Any]:
        return {
            "utterances": self.utterances,
            "groups": self.groups,
            "rows": {
                row.name: {"wer": row.wer, "interval": row.interval, **asdict(row.errors)}
                for row in self.rows
            },
            "over_control": asdict(self.over_control),
            "over_first_pass": asdict(self.over_first_pass),
            "kept": self.chosen.configuration.name,
            "gain": self.over_control.is_real,
            "by_configuration": {own.configuration.name: own.wer for own in self.all_choices},
        }


def tune(data: TuningData, folds: int = 10) -> Report:
    """Search, cross-validate, choose, and say what it is worth."""
    evaluated = [evaluate(data, own) for own in configurations(data)]
    validation = CrossValidation(evaluated, make_folds(data.groups, folds))
    words = int(data.references.sum())
    choices = [
        Choice(
            own.configuration,
            validation.best_weights(index),
            _percent(validation.of(index).errors, words),
        )
        for index, own in enumerate(evaluated)
    ]
    control = next(i for i, own in enumerate(choices) if own.configuration.name == CONTROL)
    tuned, _ = validation.nested()
    lists = np.arange(data.shape[0])
    systems = {
        "first pass": data.errors[lists, 0],
        "control": data.errors[lists, validation.of(control).chosen],
        "tuned": data.errors[lists, tuned.chosen],
        "oracle": data.errors[lists, data.total_errors().argmin(axis=1)],
    }
    bootstrap = Bootstrap(data.references, data.groups)
    return Report(
        utterances=len(data.ids),
        groups=bootstrap.num_groups,
        rows=tuple(bootstrap.row(name, errors) for name, errors in systems.items()),
        over_control=bootstrap.gain(systems["tuned"], systems["control"]),
        over_first_pass=bootstrap.gain(systems["tuned"], systems["first pass"]),
        control=choices[control],
        chosen=choices[validation.choose()],
        all_choices=tuple(sorted(choices, key=lambda own: own.wer)),
    )


class Bootstrap:
    """Percentile intervals over resampled utterances, or speakers where those are the groups; the
    same resamples for every system (Bisani and Ney 2004)."""

    def __init__(
        self, references: NDArray[np.int64], groups: NDArray[np.int64], samples: int = _SAMPLES
    ) -> None:
        """references: (U,) words. groups: (U,)."""
        self._groups = groups
        self.num_groups = int(groups.max()) + 1
        draw = np.random.default_rng(0)
        even = np.full(self.num_groups, 1 / self.num_groups)
        self._weights = draw.multinomial(self.num_groups, even, samples).astype(np.float64)
        self._words = self._resampled(references)
        self._num_words = int(references.sum())

    def row(self, name: str, errors: NDArray[np.int64]) -> Row:
        """errors: (U, 3)."""
        rates = self._rates(self._resampled(errors.sum(axis=1)))
        substituted, inserted, deleted = errors.sum(axis=0).tolist()
        counts = WordErrors(substituted, inserted, deleted, self._num_words)
        return Row(name, 100 * counts.rate, _interval(rates), counts)

    def gain(self, ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> Gain:
        """Of one system's errors over another's, (U, 3) each."""
        a, b = ours.sum(axis=1), theirs.sum(axis=1)
        saved, whole = self._resampled(b - a), self._resampled(b)
        relative = 100 * saved / np.maximum(whole, 1)
        return Gain(
            absolute=_percent(float((b - a).sum()), self._num_words),
            absolute_interval=_interval(self._rates(saved)),
            relative=_percent(float((b - a).sum()), int(b.sum())),
            relative_interval=_interval(relative),
            chance_of_nothing=float((saved <= 0).mean()),
        )

    def _rates(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Percent of each resample's words; of one without words, 0 or 100 as `WordErrors.rate`."""
        ratio = np.divide(errors, self._words, out=np.sign(errors), where=self._words > 0)
        return 100 * ratio

    def _resampled(self, values: NDArray[np.int64]) -> NDArray[np.float64]:
        """(samples,): the sum over each resample's utterances."""
        by_group = np.bincount(self._groups, values, self.num_groups)
        sums: NDArray[np.float64] = self._weights @ by_group
        return sums


def _interval(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def _percent(part: float, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def to_settings(
    choice: Choice, data: TuningData, text_form: TextForm = "as-is"
) -> RescoringSettings:
    """A choice as weights: the scale goes into each share; what is not kept weighs nothing."""
    candidate, scale = choice.candidate, choice.candidate.scale
    weights = dict.fromkeys(data.fixed_names, scale)
    lm_weight, mixture = 0.0, None
    if LM in data.sources:
        weights[LM] = 0.0
    for source, share in zip(choice.configuration.sources, candidate.shares, strict=True):
        if source == MODEL:
            lm_weight = scale * share
        elif isinstance(source, str):
            weights[source] = scale * share
        else:
            lm_weight = scale * share
            mixture = Mixture(source[1], candidate.mixing or 0.0)
    return RescoringSettings(
        lm_weight=lm_weight,
        length_bonus=candidate.length_bonus,
        weights=weights,
        mixture=mixture,
        text_form=text_form,
    )


def describe(report: Report) -> list[str]:
    """The report in lines for a terminal."""
    unit = "utterances" if report.groups == report.utterances else "speakers"
    lines = [
        f"{report.utterances} lists, cross-validated by {report.groups} {unit}; "
        "word error rates in percent, 95% intervals",
        f"{'':12}{'WER':>7}  {'interval':<16}{'sub':>6}{'ins':>6}{'del':>6}",
    ]
    lines += [
        f"{row.name:12}{row.wer:7.2f}  {_spelled(row.interval):<16}"
        f"{row.errors.substitutions:6}{row.errors.insertions:6}{row.errors.deletions:6}"
        for row in report.rows
    ]
    lines.append("cross-validated, by what takes part:")
    lines += [f"  {own.configuration.name:<28}{own.wer:7.2f}" for own in report.all_choices]
    gains = (("the control", report.over_control), ("the first pass", report.over_first_pass))
    lines += [
        f"tuned over {name}: {gain.absolute:.2f} points {_spelled(gain.absolute_interval)}, "
        f"{gain.relative:.1f}% of its errors {_spelled(gain.relative_interval)}; chance that this "
        f"is nothing: {gain.chance_of_nothing:.3f}"
        for name, gain in gains
    ]
    if report.over_control.is_real:
        lines.append(f"kept: {report.chosen.configuration.name}")
    else:
        lines.append(
            "NO GAIN: what the models add to the recogniser's own scores, retuned, may be chance. "
            "The settings are the control's."
        )
    return lines


def _spelled(interval: Sequence[float]) -> str:
    return f"[{interval[0]:.2f}, {interval[1]:.2f}]"
