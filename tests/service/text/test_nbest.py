"""Hypotheses in and out of the ranking: nothing of them is lost or exchanged."""

from __future__ import annotations

import pytest

from service.text.nbest import Hypothesis, ranked_list
from service.text.rescoring import Combination

LIST = [
    Hypothesis(text="a b", score=-10.0, scores={"ngram": -3.0}),
    Hypothesis(text="a  b c", score=-9.0, scores={"ngram": -5.0}),
    Hypothesis(text="", score=-8.0, scores={"ngram": -4.0}),
]
SCORES = [(-4.0, 3, True), (-8.0, 5, True), (-1.0, 1, True)]


def test_a_hypothesis_is_a_text_or_a_mapping_with_one() -> None:
    assert Hypothesis.of("a b") == Hypothesis(text="a b", score=0.0, scores={})
    given = {"text": "a", "score": -2.5, "scores": {"lm": -1}, "id": 7}
    assert Hypothesis.of(given) == Hypothesis(text="a", score=-2.5, scores={"lm": -1})
    # As JSON has them where nothing is known.
    assert Hypothesis.of({"text": "a", "score": None, "scores": None}) == Hypothesis(text="a")
    with pytest.raises(KeyError, match="text"):
        Hypothesis.of({"score": 1.0})


def test_totals_ranks_and_where_each_was_in_the_list() -> None:
    combination = Combination(lm_weight=0.5, length_bonus=1.0, weights={"ngram": 2.0})
    ranked = ranked_list(LIST, SCORES, combination)
    assert [(own.index, own.rank, own.total, own.num_words) for own in ranked] == [
        (0, 1, -10 - 6 - 2 + 2, 2),
        (2, 2, -8 - 8 - 0.5, 0),
        (1, 3, -9 - 10 - 4 + 3, 3),
    ]
    for own in ranked:
        assert own.text == LIST[own.index].text
        assert (own.lm_logprob, own.num_tokens) == SCORES[own.index][:2]
    assert sum(own.posterior for own in ranked) == pytest.approx(1)


def test_the_end_of_sequence_counts_as_a_word_where_it_was_scored() -> None:
    combination = Combination(lm_weight=1.0, normalize="words")
    (with_end,) = ranked_list([Hypothesis(text="a b")], [(-6.0, 3, True)], combination)
    (without,) = ranked_list([Hypothesis(text="a b")], [(-6.0, 2, False)], combination)
    assert (with_end.total, without.total) == (-2.0, -3.0)


def test_equal_totals_keep_their_order_and_nothing_ranks_nothing() -> None:
    same = [Hypothesis(text=text) for text in "cab"]
    ranked = ranked_list(same, [(-1.0, 1, True)] * 3, Combination(lm_weight=1.0))
    assert [own.text for own in ranked] == ["c", "a", "b"]
    assert ranked_list([], [], Combination(lm_weight=1.0)) == []


@pytest.mark.parametrize(
    ("weights", "fault"),
    [({}, "no weight is given for the score 'ngram'"), ({"ngram": 1, "am": 1}, "the score 'am'")],
)
def test_names_on_one_side_alone_are_told(weights: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        ranked_list(LIST, SCORES, Combination(lm_weight=1.0, weights=weights))


def test_each_hypothesis_needs_its_score() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ranked_list(LIST, SCORES[:2], Combination(lm_weight=1.0, weights={"ngram": 1}))
