"""Word errors, counted as jiwer does and by hand."""

from __future__ import annotations

import jiwer
import pytest

from service.asr.word_errors import WordErrors, count_errors


def test_errors_by_jiwer() -> None:
    counts = count_errors(
        "the cat sat", ["the cat sat", "a cat", "the cat sat down", "", "x y z w"]
    )
    assert counts.tolist() == [[0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 3], [3, 1, 0]]
    assert count_errors("", ["a b", ""]).tolist() == [[0, 2, 0], [0, 0, 0]]
    whole = sum(count_errors("the cat sat", ["a cat"])[0]) / 3
    assert whole == pytest.approx(jiwer.wer("the cat sat", "a cat"))


def test_a_rate_is_of_the_references_words() -> None:
    assert WordErrors(1, 2, 3, 12).total == 6
    assert WordErrors(1, 2, 3, 12).rate == 0.5
    assert WordErrors(0, 3, 0, 2).rate == 1.5
    # Nothing was said: all that was recognised is wrong, or nothing is.
    assert (WordErrors(0, 2, 0, 0).rate, WordErrors(0, 0, 0, 0).rate) == (1.0, 0.0)
