"""Lists in another order keep everything that they brought."""

from __future__ import annotations

from service.asr.hypotheses import Hypothesis, NBestList


def test_a_list_in_another_order_tells_totals_and_loses_nothing() -> None:
    hypotheses = tuple(
        Hypothesis(text=text, score=-1.0, scores={"lm": -2.0}, extra={"id": text, "total": 9})
        for text in ("a", "b", "c")
    )
    nbest = NBestList(id="u", hypotheses=hypotheses, reference="b", speaker="s", extra={"k": 1})
    found = nbest.reordered([2, 0], [-3.0, -2.0, -1.0], [{"x": 0.0}, {"x": 1.0}, {"x": 2.0}])
    assert [own.text for own in found.hypotheses] == ["c", "a"]
    assert [own.extra for own in found.hypotheses] == [
        {"id": "c", "total": -1.0, "x": 2.0},
        {"id": "a", "total": -3.0, "x": 0.0},
    ]
    assert found.hypotheses[0].scores == {"lm": -2.0}
    assert (found.id, found.reference, found.speaker, found.extra) == ("u", "b", "s", {"k": 1})
    assert nbest.hypotheses[0].extra["total"] == 9


def test_words_are_what_white_space_divides() -> None:
    assert Hypothesis(text=" how  are\tyou ").words == ["how", "are", "you"]
    assert Hypothesis(text="").words == []
