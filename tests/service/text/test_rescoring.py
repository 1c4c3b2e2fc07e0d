"""Combining and ranking: properties over random lists, and answers worked out by hand."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.rescoring import (
    Combination,
    Normalize,
    Scored,
    check_names,
    combine,
    hot_word_score,
    posteriors,
    rank,
)

# Multiples of 1/8 of moderate size: their sums and products are exact, so that a property holds
# to the last bit and not merely up to rounding.
exact = st.integers(-(2**12), 2**12).map(lambda n: n / 8)
totals = st.lists(exact, max_size=20)


def scored(
    lm_logprob: float = 0.0,
    *,
    score: float = 0.0,
    scores: dict[str, float] | None = None,
    num_tokens: int = 1,
    num_words: int = 1,
    eos: bool = True,
) -> Scored:
    return Scored(
        score=score,
        scores=scores or {},
        lm_logprob=lm_logprob,
        num_tokens=num_tokens,
        num_words=num_words,
        eos=eos,
    )


def test_combine_is_the_documented_formula() -> None:
    hypothesis = scored(
        -31.5, score=-120.25, scores={"ngram": -31.0, "nn": 2.0}, num_tokens=8, num_words=5
    )
    combination = Combination(
        lm_weight=0.5, length_bonus=-0.75, weights={"ngram": 0.25, "nn": -3.0}
    )
    assert combine(hypothesis, combination) == -120.25 - 7.75 - 6.0 - 15.75 - 3.75


@pytest.mark.parametrize(
    ("normalize", "eos", "expected"),
    [
        ("none", True, -48.0),
        ("tokens", True, -6.0),
        ("words", True, -8.0),  # five words and the end of the sentence
        ("words", False, -9.6),
    ],
)
def test_normalize_divides_the_language_models_score_alone(
    normalize: Normalize, eos: bool, expected: float
) -> None:
    hypothesis = scored(-48.0, score=-100.0, num_tokens=8, num_words=5, eos=eos)
    combination = Combination(lm_weight=1.0, length_bonus=2.0, normalize=normalize)
    assert combine(hypothesis, combination) == pytest.approx(-100.0 + 10.0 + expected)


@pytest.mark.parametrize("normalize", ["none", "tokens", "words"])
def test_a_text_of_no_tokens_contributes_nothing(normalize: Normalize) -> None:
    hypothesis = scored(0.0, score=-3.0, num_tokens=0, num_words=0, eos=False)
    assert combine(hypothesis, Combination(lm_weight=2.0, normalize=normalize)) == -3.0


@pytest.mark.parametrize(
    ("scores", "lm_weight"),
    [({"a": 1e308, "b": 1e308}, 1.0), ({"a": -1e308, "b": 1e308}, 1e308), ({}, 1e308)],
)
def test_a_total_that_overflows_is_the_users_mistake(
    scores: dict[str, float], lm_weight: float
) -> None:
    combination = Combination(lm_weight=lm_weight, weights=dict.fromkeys(scores, 10.0))
    with pytest.raises(ValueError, match="not a finite number"):
        combine(scored(-20.0, scores=scores), combination)


@given(st.dictionaries(st.text(max_size=3), exact, max_size=6), st.randoms())
def test_the_order_of_weights_does_not_matter(
    scores: dict[str, float], shuffler: random.Random
) -> None:
    names = list(scores)
    shuffler.shuffle(names)
    ordered, shuffled = (
        Combination(lm_weight=0.1, weights=dict.fromkeys(order, 1 / 3)) for order in (scores, names)
    )
    hypothesis = scored(-1.7, scores=scores)
    assert combine(hypothesis, ordered) == combine(hypothesis, shuffled)


@given(st.lists(exact, unique=True, max_size=20), st.randoms())
def test_ranking_does_not_depend_on_the_order_of_input(
    values: list[float], shuffler: random.Random
) -> None:
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    first, second = rank(values), rank(shuffled)
    assert [(r.total, r.posterior) for r in first] == [(r.total, r.posterior) for r in second]
    assert [r.total for r in first] == sorted(values, reverse=True)


@given(totals)
def test_ranks_count_from_one_and_ties_keep_their_order(values: list[float]) -> None:
    ranked = rank(values)
    assert [r.rank for r in ranked] == list(range(1, len(values) + 1))
    assert sorted(r.index for r in ranked) == list(range(len(values)))
    for better, worse in pairwise(ranked):
        assert (-better.total, better.index) < (-worse.total, worse.index)


@given(totals)
def test_posteriors_are_a_distribution_in_the_order_of_totals(values: list[float]) -> None:
    probabilities = posteriors(values)
    assert all(0 <= p <= 1 for p in probabilities)
    if values:
        assert math.fsum(probabilities) == pytest.approx(1.0, abs=1e-12)
        assert probabilities[values.index(max(values))] == max(probabilities)


@given(totals, exact)
def test_posteriors_ignore_a_constant_common_to_the_list(
    values: list[float], constant: float
) -> None:
    assert posteriors([value + constant for value in values]) == posteriors(values)


def test_posteriors_known_answers() -> None:
    assert posteriors([]) == []
    assert posteriors([-1e300]) == [1.0]
    assert posteriors([-4000.0, -4000.0]) == [0.5, 0.5]  # exp(-4000) alone is 0
    assert posteriors([math.log(3) + 700, 700]) == pytest.approx([0.75, 0.25])
    assert posteriors([0.0, -1e9]) == [1.0, 0.0]


@given(
    st.lists(st.tuples(exact, exact), min_size=2, max_size=10),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_a_larger_lm_weight_never_demotes_the_text_the_model_prefers(
    hypotheses: list[tuple[float, float]], eighths: int, more: int
) -> None:
    def places(lm_weight: float) -> list[int]:
        combination = Combination(lm_weight=lm_weight)
        values = [combine(scored(lm, score=score), combination) for score, lm in hypotheses]
        by_index = {r.index: r.rank for r in rank(values)}
        return [by_index[index] for index in range(len(values))]

    before, after = places(eighths / 8), places((eighths + more) / 8)
    for a, (_, lm_a) in enumerate(hypotheses):
        for b, (_, lm_b) in enumerate(hypotheses):
            if lm_a >= lm_b and before[a] < before[b]:
                assert after[a] < after[b]


def test_check_names_names_the_score_that_has_no_counterpart() -> None:
    check_names({"ngram": -1.0}, {"ngram": 0.0})
    with pytest.raises(ValueError, match="no weight is given for the score 'ngarm'"):
        check_names({"ngarm": -1.0}, {"ngram": 0.3})
    with pytest.raises(ValueError, match="the score 'ngram', which has a weight, is missing"):
        check_names({}, {"ngram": 0.3})


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("new york new york", 2.0),
        ("york", 0.0),
        ("newyork", 0.0),
        ("  new   york ", 1.0),
        ("", 0.0),
    ],
)
def test_hot_phrases_are_whole_words(text: str, score: float) -> None:
    assert hot_word_score(text, {"new york": 1.0, "": 9.0}) == score
