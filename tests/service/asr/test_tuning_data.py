"""Lists as arrays: each number in its place, absent ones marked, faults by name."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from service.asr.hypotheses import LM, MODEL, Hypothesis, NBestList
from service.asr.tuning_data import build_data
from service.asr.tuning_report import tune
from tests.service.asr.made_up_lists import arrays_of, made_up_lists

LISTS = [
    NBestList(
        id="u",
        speaker="x",
        reference="a b",
        hypotheses=(
            Hypothesis(
                text="a b",
                score=-1.0,
                scores={LM: -2.0, "graph": -0.5},
                word_scores={MODEL: [-1.0, -2.0, -0.25], "ngram": [-2.0, -1.0, -0.5]},
            ),
            Hypothesis(
                text="a",
                score=-3.0,
                scores={LM: -4.0, "graph": -0.75},
                word_scores={MODEL: [-1.0, -1.5], "ngram": [-2.0, -3.0]},
            ),
        ),
    ),
    NBestList(id="v", speaker="x", reference="", hypotheses=()),
]


def test_every_number_has_its_place() -> None:
    data = arrays_of(LISTS)
    assert (data.ids, data.shape, data.has_acoustic) == (("u", "v"), (2, 2), True)
    # An empty list says nothing, which is a hypothesis too.
    assert data.is_there.tolist() == [[True, True], [True, False]]
    assert data.acoustic.tolist() == [[-1, -3], [0, 0]]
    assert data.fixed.tolist() == [[-0.5, -0.75], [0, 0]]
    assert data.fixed_names == ("graph",)
    assert data.num_words.tolist() == [[2, 1], [0, 0]]
    assert {name: own.tolist() for name, own in data.sources.items()} == {
        LM: [[-2, -4], [0, 0]],
        MODEL: [[-3.25, -2.5], [0, 0]],
        "ngram": [[-3.5, -5], [0, 0]],
    }
    assert data.is_word[0].tolist() == [[True, True, True], [True, True, False]]
    assert data.references.tolist() == [2, 0]
    assert data.total_errors().tolist() == [[0, 1], [0, 1 << 30]]


def test_a_mixture_is_word_by_word() -> None:
    mixed = arrays_of(LISTS).mixture(MODEL, "ngram", 0.25)
    pairs = [(-1.0, -2.0), (-2.0, -1.0), (-0.25, -0.5)]
    expected = sum(math.log(0.25 * math.exp(a) + 0.75 * math.exp(b)) for a, b in pairs)
    assert mixed[0, 0] == pytest.approx(expected)
    assert mixed[1, 1] == 0


def test_speakers_or_utterances_are_the_groups() -> None:
    assert arrays_of(LISTS).groups.tolist() == [0, 1]
    assert arrays_of(LISTS, by_speaker=True).groups.tolist() == [0, 0]


def test_models_that_disagree_on_the_words_are_named() -> None:
    first = LISTS[0].hypotheses[0]
    other = replace(first, word_scores={**first.word_scores, "ngram": [-2.0, -1.0]})
    lists = [replace(LISTS[0], hypotheses=(other, LISTS[0].hypotheses[1]))]
    with pytest.raises(ValueError, match="'ngram' are not of the same words"):
        arrays_of(lists)


def test_an_empty_list_says_nothing() -> None:
    lists = [*made_up_lists(10, model_knows=1.0), NBestList(id="e", hypotheses=(), reference="a b")]
    data = arrays_of(lists)
    assert data.errors[10, 0].tolist() == [0, 0, 2]
    tune(data, 3)


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
        arrays_of(lists)


def test_nothing_to_count_is_told() -> None:
    with pytest.raises(ValueError, match="there are no lists"):
        build_data([], {"u": "a"})
    silent = [NBestList(id=id, hypotheses=(Hypothesis(text="a"),), reference=" ") for id in "uv"]
    with pytest.raises(ValueError, match="hold no word"):
        arrays_of(silent)


def test_an_id_of_two_lists_is_named() -> None:
    """Their references would be one, and the folds would know each other."""
    lists = made_up_lists(3, model_knows=1.0)
    with pytest.raises(ValueError, match="1 ids belong to more than one list, 'u1' first"):
        arrays_of([*lists, lists[1]])


def test_missing_references_and_speakers_are_named() -> None:
    lists = made_up_lists(3, model_knows=1.0)
    with pytest.raises(ValueError, match="no reference for 'u1'"):
        build_data(lists, {"u0": "a", "u2": "a"})
    with pytest.raises(ValueError, match="the speaker of 'u2' is not told"):
        arrays_of([*lists[:2], replace(lists[2], speaker=None)], by_speaker=True)
    with pytest.raises(ValueError, match="at least two"):
        tune(arrays_of(lists[:1]))
