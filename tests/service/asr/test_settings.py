"""The settings file: what tuning writes is what rescoring takes, and a bad one is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.asr.hypotheses import LM
from service.asr.settings import Mixture, RescoringSettings, load_settings, untuned_settings


def test_the_file_comes_back(tmp_path: Path) -> None:
    settings = RescoringSettings(
        lm_weight=1 / 3,
        length_bonus=-17.25,
        weights={LM: 0.0, "graph": 9.5},
        mixture=Mixture("ngram", 0.35),
        text_form="asr",
        about={"model": {"name": "m"}},
    )
    settings.save(tmp_path / "s.json")
    assert load_settings(tmp_path / "s.json") == settings


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ([], "is no settings file"),
        ({"form": 2, "rescore": {}}, "is no settings file of form 1"),
        ({"form": 1, "rescore": {"lm_wieght": 1}}, "unknown field 'lm_wieght'"),
        ({"form": 1, "rescore": {"lm_weight": "x"}}, "rescore.lm_weight is no finite number"),
        ({"form": 1, "rescore": {"length_bonus": 10**400}}, "length_bonus is no finite number"),
        ({"form": 1, "rescore": {"weights": []}}, "weights is no JSON object"),
        ({"form": 1, "rescore": {"mixture": {"with": "n"}}}, "needs 'with' and 'share'"),
        ({"form": 1, "rescore": {"mixture": {"with": "n", "share": 2}}}, "is in 0..1, not 2"),
        ({"form": 1, "rescore": {}, "text_form": "upper"}, "text_form is 'upper'"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, entry: object, fault: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(entry))
    with pytest.raises(ValueError, match=f"s.json: .*{fault}"):
        load_settings(path)


def test_weights_to_begin_with_are_by_what_the_lists_bring() -> None:
    assert untuned_settings({LM, "graph"}).weights == {LM: 5.0, "graph": 5.0}
    assert untuned_settings({LM}).lm_weight == 5.0
    assert untuned_settings(()) == RescoringSettings(), "a composite score, as over HTTP"
    with pytest.raises(ValueError, match="no weight is given for the score 'graph'"):
        untuned_settings({"graph", "ngram"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_factors_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match="lm_weight is no finite number"):
        RescoringSettings(lm_weight=value)
    with pytest.raises(ValueError, match="the weight of 'lm' is no finite number"):
        RescoringSettings(weights={"lm": value})


def test_fields_are_those_of_a_request() -> None:
    settings = RescoringSettings(lm_weight=2, weights={LM: 1}, mixture=Mixture("ngram", 0.5))
    assert settings.request_fields() == {
        "lm_weight": 2,
        "length_bonus": 0.0,
        "weights": {LM: 1},
        "mixture": {"with": "ngram", "share": 0.5},
    }
    assert "mixture" not in RescoringSettings().request_fields()


def test_what_is_left_out_has_the_services_defaults(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"form": 1, "rescore": {}}')
    assert load_settings(tmp_path / "s.json") == RescoringSettings()


def test_a_file_that_is_no_json_is_named_and_one_that_is_not_there_is_an_os_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(ValueError, match=r"s\.json: Expecting"):
        load_settings(tmp_path / "s.json")
    with pytest.raises(FileNotFoundError):
        load_settings(tmp_path / "missing.json")
