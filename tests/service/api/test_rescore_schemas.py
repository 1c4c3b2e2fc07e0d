"""Lists as they are sent: strict in what is known, and nothing else of them is lost."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from service.api.rescore_schemas import Hypothesis, Mixture, RescoreRequest, Utterance


def test_unknown_fields_of_lists_and_hypotheses_come_back() -> None:
    sent = {
        "id": 7,
        "channel": {"side": ["left", None]},
        "hypotheses": [{"text": "a", "scores": {"lm": -1.5}, "times": [[0, 1]], "ok": True}],
    }
    kept = Utterance.model_validate(sent)
    assert kept.model_dump(exclude_unset=True) == sent


@pytest.mark.parametrize(
    ("hypothesis", "field"),
    [
        ({}, "text"),
        ({"text": 5}, "text"),
        ({"text": "a", "score": "1"}, "score"),
        ({"text": "a", "score": True}, "score"),
        ({"text": "a", "score": float("nan")}, "score"),
        ({"text": "a", "scores": {"lm": float("inf")}}, "scores"),
        ({"text": "a", "scores": [1]}, "scores"),
        ({"text": "a", "word_scores": {"lm": [-1, None]}}, "word_scores"),
    ],
)
def test_what_is_known_has_its_type(hypothesis: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Hypothesis.model_validate(hypothesis)
    assert refused.value.errors()[0]["loc"][0] == field


def test_a_number_that_no_double_holds_could_not_be_given_back() -> None:
    with pytest.raises(ValidationError):
        Hypothesis.model_validate({"text": "a", "note": [float("inf")]})


@pytest.mark.parametrize(
    "mixture",
    [{"with": "n"}, {"with": "n", "share": 1.1}, {"with": "n", "share": -0.1}, {"share": 0.5},
     {"with": "n", "share": 0.5, "weight": 1}],
)  # fmt: skip
def test_a_mixture_is_two_models_and_a_share(mixture: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Mixture.model_validate(mixture)


def test_defaults_are_those_that_the_pages_tell() -> None:
    request = RescoreRequest.model_validate({"utterances": []})
    assert (request.lm_weight, request.length_bonus, request.weights) == (0.5, 0, {})
    assert (request.normalize, request.eos, request.bos) == ("none", True, True)
    assert (request.mixture, request.hot_words, request.top_n) == (None, {}, None)
    with pytest.raises(ValidationError):
        RescoreRequest.model_validate({"utterances": [], "top_n": 0})
    with pytest.raises(ValidationError):
        RescoreRequest.model_validate({"utterances": [], "bos": False})
