"""What is told of tuning: gains that are real and such that are not, intervals, settings."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from service.asr.hypotheses import LM, MODEL
from service.asr.settings import Mixture
from service.asr.tuning import Candidate, Configuration
from service.asr.tuning_report import Bootstrap, Choice, describe, to_settings, tune
from service.asr.word_errors import WordErrors
from tests.service.asr.made_up_lists import arrays_of, made_up_lists


def test_finds_a_model_that_knows() -> None:
    data = arrays_of(made_up_lists(150, model_knows=2.0))
    report = tune(data)
    rates = {row.name: row.wer for row in report.rows}
    assert report.over_control.is_real
    assert rates["oracle"] <= rates["tuned"] < rates["control"] * 0.8
    assert MODEL in report.chosen.configuration.name
    assert "kept:" in describe(report)[-1]


@pytest.mark.parametrize("seed", range(4))
def test_admits_that_noise_is_noise(seed: int) -> None:
    lists = made_up_lists(100, model_knows=0.0, seed=seed)
    report = tune(arrays_of(lists))
    assert not report.over_control.is_real
    assert describe(report)[-1].startswith("NO GAIN")
    assert to_settings(report.recommended, arrays_of(lists)).lm_weight == 0


def test_units_do_not_matter() -> None:
    """Acoustic scores a thousand times as large: weights as much larger, the same errors."""
    small, large = (
        tune(arrays_of(made_up_lists(60, model_knows=1.0, unit=own))) for own in (1.0, 1000.0)
    )
    assert [row.wer for row in small.rows][1:] == [row.wer for row in large.rows][1:]
    assert large.chosen.candidate.length_bonus == pytest.approx(
        1000 * small.chosen.candidate.length_bonus
    )


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


def test_lists_without_scores() -> None:
    """Texts alone: the model and the number of words decide."""
    lists = [
        replace(own, hypotheses=tuple(replace(h, score=None, scores={}) for h in own.hypotheses))
        for own in made_up_lists(60, model_knows=3.0)
    ]
    assert tune(arrays_of(lists)).over_control.is_real


def test_the_report_is_json() -> None:
    report = tune(arrays_of(made_up_lists(20, model_knows=1.0)), 4)
    assert json.loads(json.dumps(report.to_dict()))["rows"]["oracle"]["words"] > 0


def test_every_group_as_a_whole_is_drawn() -> None:
    """Of one speaker alone there is nothing to draw: the interval is the figure itself."""
    references, errors = np.array([4, 6]), np.array([[1, 0, 0], [0, 1, 1]])
    row = Bootstrap(references, np.zeros(2, np.int64)).row("tuned", errors)
    assert (row.name, row.wer, row.interval) == ("tuned", 30.0, (30.0, 30.0))
    assert row.errors == WordErrors(substitutions=1, insertions=1, deletions=1, words=10)


def test_a_choices_scale_goes_into_each_share() -> None:
    data = replace(arrays_of(made_up_lists(2, model_knows=0)), fixed_names=("graph",))
    candidate = Candidate(scale=4.0, length_bonus=-0.5, shares=(0.25, 0.75), mixing=0.3)
    mixed = Choice(Configuration("x", (LM, ("mix", "ngram"))), candidate, 0.0)
    settings = to_settings(mixed, data, "asr")
    assert settings.weights == {"graph": 4.0, LM: 1.0}
    assert (settings.lm_weight, settings.length_bonus) == (3.0, -0.5)
    assert (settings.mixture, settings.text_form) == (Mixture("ngram", 0.3), "asr")
    alone = Choice(Configuration("x", (MODEL,)), replace(candidate, shares=(1.0,)), 0.0)
    settings = to_settings(alone, data)
    assert settings.weights == {"graph": 4.0, LM: 0.0}  # what is not kept weighs nothing
    assert (settings.lm_weight, settings.mixture) == (4.0, None)


def test_resamples_without_words_have_a_rate_too() -> None:
    """Of two utterances one is silent: a quarter of the resamples hold no word at all."""
    references, errors = np.array([0, 2]), np.array([[0, 1, 0], [1, 0, 0]])
    bootstrap = Bootstrap(references, np.arange(2))
    assert bootstrap.row("tuned", errors).interval == (50.0, 100.0)
    gain = bootstrap.gain(errors, np.zeros((2, 3), np.int64))
    assert np.isfinite(gain.absolute_interval).all()
    assert np.isfinite(gain.relative_interval).all()
