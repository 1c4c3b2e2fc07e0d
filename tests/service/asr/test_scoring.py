"""Lists cut, scored beside each other, and given back in their order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.asr import scoring
from service.asr.hypotheses import MODEL, Hypothesis, NBestList
from service.asr.scoring import ListScorer, chunked, in_order
from service.language_model import LanguageModel


def lists_of(*sizes: int) -> list[NBestList]:
    return [
        NBestList(
            id=f"u{index}",
            hypotheses=tuple(Hypothesis(text=f"word {index} {k}") for k in range(size)),
        )
        for index, size in enumerate(sizes)
    ]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Iterator[LanguageModel]:
    with LanguageModel.load(tiny_folder, precision="fp32", max_num_seqs=8) as opened:
        yield opened


def test_chunks_are_whole_lists_of_about_as_many_texts_as_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "_TEXTS_AT_ONCE", 4)
    lists = lists_of(3, 1, 9, 0, 0, 2, 1)
    found = [[own.id for own in chunk] for chunk in chunked(lists)]
    assert found == [["u0", "u1"], ["u2"], ["u3", "u4", "u5"], ["u6"]]
    assert list(chunked([])) == []


def test_results_come_in_order_and_no_more_is_read_than_is_in_work() -> None:
    read: list[int] = []

    def chunks() -> Iterator[int]:
        for number in range(6):
            read.append(number)
            yield number

    def work(number: int) -> list[NBestList]:
        time.sleep(0.01 * (number % 2 == 0))  # the first of each pair is the slower one
        return [NBestList(id=str(number), hypotheses=())]

    results = in_order(chunks(), work)
    assert next(results).id == "0"
    assert len(read) <= 4
    assert [own.id for own in results] == ["1", "2", "3", "4", "5"]


def test_a_fault_of_the_work_reaches_who_reads() -> None:
    def work(number: int) -> list[NBestList]:
        raise ValueError(f"list {number}")

    with pytest.raises(ValueError, match="list 1"):
        list(in_order([1, 2], work))


def test_a_text_in_several_lists_has_the_same_scores_and_others_are_kept(
    model: LanguageModel,
) -> None:
    own = Hypothesis(text="The cat!", word_scores={"old": (-1.0,)})
    lists = [
        NBestList(id="a", hypotheses=(own, Hypothesis(text="the cat"))),
        NBestList(id="b", hypotheses=(own,)),
        NBestList(id="c", hypotheses=()),
    ]
    found = ListScorer(model).score(lists)
    assert [each.id for each in found] == ["a", "b", "c"]
    assert found[0].hypotheses[0] == found[1].hypotheses[0]
    scored = found[0].hypotheses[0].word_scores
    assert scored["old"] == (-1.0,)
    words = model.score("The cat!", detail="words").words
    assert words is not None
    assert scored[MODEL] == pytest.approx([word.logprob for word in words], abs=1e-6)
    assert found[0].hypotheses[1].word_scores[MODEL] != scored[MODEL]


def test_the_text_form_is_what_the_model_is_asked_about(model: LanguageModel) -> None:
    hypotheses = (Hypothesis(text="The cat!"), Hypothesis(text="the cat"))
    lists = [NBestList(id="a", hypotheses=hypotheses)]
    (found,) = ListScorer(model, text_form="asr").score(lists)
    spoken, same = found.hypotheses
    assert spoken.word_scores == same.word_scores
    assert spoken.text == "The cat!"


def test_without_a_model_nothing_is_added() -> None:
    lists = lists_of(2)
    assert list(ListScorer(None).stream(lists)) == lists
