"""Tuning finds what helps, admits what does not, and its settings do what it measured."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import jiwer
import numpy as np
import pytest

from service.asr.hypotheses import LM, MODEL, Hypothesis, NBestList
from service.asr.ranking import Ranker
from service.asr.settings import load_settings
from service.asr.tuning import (
    Configuration,
    CrossValidation,
    configurations,
    evaluate,
    make_folds,
)
from service.asr.tuning_data import TuningData, build_data
from service.asr.tuning_report import Bootstrap, Choice, describe, to_settings, tune
from service.asr.word_errors import count_errors
from tests.service.asr.made_up_lists import made_up_lists


def build(lists: list[NBestList], *, by_speaker: bool = False) -> TuningData:
    references = {own.id: own.reference or "" for own in lists}
    return build_data(lists, references, by_speaker=by_speaker)


def with_ngram(lists: list[NBestList], seed: int = 1) -> list[NBestList]:
    """The lists with word scores of a second model: the first one's, and noise."""
    draw = random.Random(seed)
    return [
        replace(
            own,
            hypotheses=tuple(
                replace(
                    h,
                    word_scores={
                        MODEL: h.word_scores[MODEL],
                        "ngram": [min(x + draw.gauss(0, 1), -0.01) for x in h.word_scores[MODEL]],
                    },
                )
                for h in own.hypotheses
            ),
        )
        for own in lists
    ]


def test_finds_a_model_that_knows() -> None:
    data = build(made_up_lists(150, model_knows=2.0))
    report = tune(data)
    rates = {row.name: row.wer for row in report.rows}
    assert report.over_control.is_real
    assert rates["oracle"] <= rates["tuned"] < rates["control"] * 0.8
    assert MODEL in report.chosen.configuration.name
    assert "kept:" in describe(report)[-1]


@pytest.mark.parametrize("seed", range(4))
def test_admits_that_noise_is_noise(seed: int) -> None:
    lists = made_up_lists(100, model_knows=0.0, seed=seed)
    report = tune(build(lists))
    assert not report.over_control.is_real
    assert describe(report)[-1].startswith("NO GAIN")
    assert to_settings(report.recommended, build(lists)).lm_weight == 0


def test_units_do_not_matter() -> None:
    """Acoustic scores a thousand times as large: weights as much larger, the same errors."""
    small, large = (
        tune(build(made_up_lists(60, model_knows=1.0, unit=own))) for own in (1.0, 1000.0)
    )
    assert [row.wer for row in small.rows][1:] == [row.wer for row in large.rows][1:]
    assert large.chosen.candidate.length_bonus == pytest.approx(
        1000 * small.chosen.candidate.length_bonus
    )


def test_settings_do_what_was_measured(tmp_path: Path) -> None:
    """Through the file and the ranking of single lists, each configuration makes the same choices
    as in the arrays."""
    lists = with_ngram(made_up_lists(40, model_knows=1.0))
    data = build(lists)
    found = configurations(data)
    assert {own.name for own in found} == {
        "control", "model", "ngram", "lm+model", "lm+ngram", "model+ngram", "lm+model+ngram",
        "mix(model,ngram)", "lm+mix(model,ngram)",
    }  # fmt: skip
    for configuration in found:
        evaluated = evaluate(data, configuration)
        best = int(evaluated.objective.sum(axis=0).argmin())
        choice = Choice(configuration, evaluated.candidates[best], 0.0)
        to_settings(choice, data).save(tmp_path / "settings.json")
        ranker = Ranker(load_settings(tmp_path / "settings.json"))
        for index, own in enumerate(lists):
            chosen = own.hypotheses[evaluated.chosen[index, best]].text
            assert ranker.rank(own).hypotheses[0].text == chosen, configuration


def test_cross_validation_by_hand() -> None:
    """Each fold's errors are those of the candidate that is best on the other folds."""
    data = build(made_up_lists(30, model_knows=1.0))
    folds = make_folds(data.groups, 5)
    evaluated = [evaluate(data, own) for own in configurations(data)]
    validation = CrossValidation(evaluated, folds)
    for index, own in enumerate(evaluated):
        errors = 0.0
        for fold in range(5):
            best = own.objective[folds != fold].sum(axis=0).argmin()
            errors += own.errors[folds == fold, best].sum()
        assert validation.of(index).errors == errors
        chosen = validation.of(index).chosen
        assert data.total_errors()[np.arange(30), chosen].sum() == errors


def test_the_choice_never_sees_the_fold_it_is_judged_on() -> None:
    """Making one fold's errors absurd changes the choice for the other folds, not for itself."""
    lists = made_up_lists(40, model_knows=1.5)
    data = build(lists)
    folds = make_folds(data.groups, 4)
    evaluated = [evaluate(data, own) for own in configurations(data)]
    _, before = CrossValidation(evaluated, folds).nested()
    spoilt = []
    for own in evaluated:
        errors, objective = own.errors.copy(), own.objective.copy()
        if own.configuration.name == "lm+model":
            errors[folds == 2] += 1000
            objective[folds == 2] += 1000
        spoilt.append(replace(own, errors=errors, objective=objective))
    _, after = CrossValidation(spoilt, folds).nested()
    assert after[2] == before[2]
    assert any(evaluated[own].configuration.name == "lm+model" for own in before.values())
    assert all(
        evaluated[own].configuration.name != "lm+model" for f, own in after.items() if f != 2
    )


def test_a_speaker_is_in_one_fold() -> None:
    data = build(made_up_lists(50, model_knows=1.0), by_speaker=True)
    folds = make_folds(data.groups, 5)
    assert all(len(set(folds[data.groups == own])) == 1 for own in set(data.groups))
    assert tune(data, 5).groups == 7


def test_bootstrap_against_a_plain_one() -> None:
    draw = np.random.default_rng(0)
    references = draw.integers(3, 12, 80)
    ours, theirs = (np.stack([draw.poisson(rate, 80)] * 3, 1) for rate in (0.4, 0.6))
    gain = Bootstrap(references, np.arange(80)).gain(ours, theirs)
    plain = []
    for _ in range(4000):
        some = draw.integers(0, 80, 80)
        plain.append(100 * (theirs[some] - ours[some]).sum() / references[some].sum())
    assert gain.absolute_interval == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=1.5)
    assert gain.chance_of_nothing == pytest.approx(np.mean(np.array(plain) <= 0), abs=0.02)


def test_no_difference_is_no_gain() -> None:
    errors = np.ones((10, 3), np.int64)
    gain = Bootstrap(np.full(10, 5), np.arange(10)).gain(errors, errors)
    assert (gain.absolute, gain.chance_of_nothing, gain.is_real) == (0.0, 1.0, False)


def test_errors_by_jiwer() -> None:
    counts = count_errors(
        "the cat sat", ["the cat sat", "a cat", "the cat sat down", "", "x y z w"]
    )
    assert counts.tolist() == [[0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 3], [3, 1, 0]]
    assert count_errors("", ["a b", ""]).tolist() == [[0, 2, 0], [0, 0, 0]]
    whole = sum(count_errors("the cat sat", ["a cat"])[0]) / 3
    assert whole == pytest.approx(jiwer.wer("the cat sat", "a cat"))


def test_an_empty_list_says_nothing() -> None:
    lists = [*made_up_lists(10, model_knows=1.0), NBestList(id="e", hypotheses=(), reference="a b")]
    data = build(lists)
    assert data.errors[10, 0].tolist() == [0, 0, 2]
    tune(data, 3)


def test_lists_without_scores() -> None:
    """Texts alone: the model and the number of words decide."""
    lists = [
        replace(own, hypotheses=tuple(replace(h, score=None, scores={}) for h in own.hypotheses))
        for own in made_up_lists(60, model_knows=3.0)
    ]
    assert tune(build(lists)).over_control.is_real


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"scores": {}}, "only some hypotheses have the score 'lm'"),
        ({"score": None}, "only some hypotheses have the recogniser's score"),
        ({"word_scores": {}}, "only some hypotheses have the score 'model'"),
    ],
)
def test_ragged_scores_are_named(change: dict[str, object], fault: str) -> None:
    lists = made_up_lists(3, model_knows=1.0)
    first: Hypothesis = replace(lists[1].hypotheses[0], **change)  # type: ignore[arg-type]
    lists[1] = replace(lists[1], hypotheses=(first, *lists[1].hypotheses[1:]))
    with pytest.raises(ValueError, match=fault):
        build(lists)


def test_missing_references_and_speakers_are_named() -> None:
    lists = made_up_lists(3, model_knows=1.0)
    with pytest.raises(ValueError, match="no reference for 'u1'"):
        build_data(lists, {"u0": "a", "u2": "a"})
    with pytest.raises(ValueError, match="the speaker of 'u2' is not told"):
        build([*lists[:2], replace(lists[2], speaker=None)], by_speaker=True)
    with pytest.raises(ValueError, match="at least two"):
        tune(build(lists[:1]))


def test_the_report_is_json() -> None:
    report = tune(build(made_up_lists(20, model_knows=1.0)), 4)
    assert json.loads(json.dumps(report.to_dict()))["rows"]["oracle"]["words"] > 0


def test_configurations_follow_what_there_is() -> None:
    data = build(made_up_lists(3, model_knows=1.0))
    assert configurations(data)[0] == Configuration("control", (LM,))
    assert [own.name for own in configurations(data)] == ["control", "model", "lm+model"]
