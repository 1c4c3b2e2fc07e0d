"""Lists and references that differ in capitals are noticed; recognition errors are not taken for
that."""

from __future__ import annotations

import pytest

from service.asr.hypotheses import Hypothesis, NBestList
from service.asr.spelling import spelling_fault

LISTS = [
    NBestList(id="u", hypotheses=(Hypothesis(text="how are you"), Hypothesis(text="who are you"))),
    NBestList(id="v", hypotheses=()),
]


@pytest.mark.parametrize(
    ("reference", "share"), [("HOW ARE YOU", "0%"), ("How are you?", "33%"), ("How ARE you", "33%")]
)
def test_capitals_and_punctuation_are_told(reference: str, share: str) -> None:
    fault = spelling_fault(LISTS, {"u": reference, "v": ""})
    assert fault is not None
    assert f"words {share} stand in their lists, 100% where both" in fault


@pytest.mark.parametrize("reference", ["how are you", "what is that", "", "WHAT IS THAT"])
def test_what_was_not_recognised_is_no_fault_of_spelling(reference: str) -> None:
    assert spelling_fault(LISTS, {"u": reference, "v": "x"}) is None


def test_nothing_at_all_is_no_fault() -> None:
    assert spelling_fault([], {}) is None
    assert spelling_fault(LISTS, {}) is None
