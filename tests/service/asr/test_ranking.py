"""Totals by settings, mixtures word by word, hot words; what is missing is named."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from service.asr.hypotheses import LM, MODEL, Hypothesis, NBestList
from service.asr.ranking import Ranker
from service.asr.settings import Mixture, RescoringSettings

LIST = NBestList(
    id="u",
    hypotheses=(
        Hypothesis(
            text="a b",
            score=-10.0,
            scores={LM: -4.0},
            word_scores={MODEL: [-1.0, -2.0, -0.5], "ngram": [-2.0, -1.0, -0.5]},
        ),
        Hypothesis(
            text="a",
            score=-11.0,
            scores={LM: -3.0},
            word_scores={MODEL: [-1.0, -1.5], "ngram": [-2.0, -3.0]},
        ),
    ),
)


def totals(settings: RescoringSettings, hot: dict[str, float] | None = None) -> dict[str, float]:
    return {h.text: h.extra["total"] for h in Ranker(settings, hot).rank(LIST).hypotheses}


def test_the_formula() -> None:
    settings = RescoringSettings(lm_weight=2.0, length_bonus=-0.25, weights={LM: 3.0})
    assert totals(settings) == {"a b": -10 - 12 - 7 - 0.5, "a": -11 - 9 - 5 - 0.25}
    assert list(totals(settings)) == ["a", "a b"]


def test_an_n_gram_s_sum_has_a_weight_like_any_score() -> None:
    settings = RescoringSettings(lm_weight=0.0, weights={LM: 0.0, "ngram": 2.0})
    assert totals(settings) == {"a b": -10 - 7, "a": -11 - 10}


def test_a_mixture_word_by_word() -> None:
    settings = RescoringSettings(lm_weight=2.0, weights={LM: 0.0}, mixture=Mixture("ngram", 0.25))
    pairs = [(-1.0, -2.0), (-2.0, -1.0), (-0.5, -0.5)]
    mixed = sum(math.log(0.25 * math.exp(a) + 0.75 * math.exp(b)) for a, b in pairs)
    assert totals(settings)["a b"] == pytest.approx(-10 + 2 * mixed)


def test_hot_words_are_a_term_of_their_own() -> None:
    settings = RescoringSettings(lm_weight=0.0, weights={LM: 0.0})
    ranked = Ranker(settings, {"b": 3.0, "a b": 0.5}).rank(LIST)
    assert [(h.text, h.extra["hot_words"]) for h in ranked.hypotheses] == [("a b", 3.5), ("a", 0.0)]
    assert ranked.hypotheses[0].extra["total"] == -6.5


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (RescoringSettings(), "no weight is given for the score 'lm'"),
        (RescoringSettings(weights={LM: 1.0, "am": 1.0}), "the score 'am', which has a weight"),
        (
            RescoringSettings(weights={LM: 1.0}, mixture=Mixture("old", 0.5)),
            "the word scores 'old' of the mixture are missing",
        ),
    ],
)
def test_what_is_missing_is_named(settings: RescoringSettings, fault: str) -> None:
    with pytest.raises(ValueError, match=f"list 'u': {fault}"):
        Ranker(settings).rank(LIST)


def test_one_hypothesis_without_the_recognisers_score_is_refused() -> None:
    """As nought it would win over any logarithm."""
    ragged = replace(LIST, hypotheses=(LIST.hypotheses[0], replace(LIST.hypotheses[1], score=None)))
    settings = RescoringSettings(weights={LM: 1.0})
    with pytest.raises(ValueError, match="list 'u': hypothesis 2 has no score, while others"):
        Ranker(settings).rank(ragged)
    none = replace(LIST, hypotheses=tuple(replace(h, score=None) for h in LIST.hypotheses))
    assert len(Ranker(settings).rank(none).hypotheses) == 2
