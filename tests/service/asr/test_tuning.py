"""Tuning finds what helps, admits what does not, and its settings do what it measured."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from service.asr.hypotheses import LM, MODEL, NBestList
from service.asr.ranking import Ranker
from service.asr.settings import load_settings
from service.asr.tuning import (
    Configuration,
    CrossValidation,
    configurations,
    evaluate,
    make_folds,
)
from service.asr.tuning_report import Choice, to_settings, tune
from tests.service.asr.made_up_lists import arrays_of, made_up_lists


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


def test_settings_do_what_was_measured(tmp_path: Path) -> None:
    """Through the file and the ranking of single lists, each configuration makes the same choices
    as in the arrays."""
    lists = with_ngram(made_up_lists(40, model_knows=1.0))
    data = arrays_of(lists)
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
    data = arrays_of(made_up_lists(30, model_knows=1.0))
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
    data = arrays_of(lists)
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
    data = arrays_of(made_up_lists(50, model_knows=1.0), by_speaker=True)
    folds = make_folds(data.groups, 5)
    assert all(len(set(folds[data.groups == own])) == 1 for own in set(data.groups))
    assert tune(data, 5).groups == 7


def test_configurations_follow_what_there_is() -> None:
    data = arrays_of(made_up_lists(3, model_knows=1.0))
    assert configurations(data)[0] == Configuration("control", (LM,))
    assert [own.name for own in configurations(data)] == ["control", "model", "lm+model"]
