"""Texts of a wanted size."""

from __future__ import annotations

import pytest

from benchmarks.growth.texts import hypotheses, random_text
from benchmarks.harness import SHIPPED
from models.checkpoint import load_checkpoint
from models.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_checkpoint(SHIPPED).tokenizer


WORDS = range(300, 2000)


@pytest.mark.parametrize("size", [1, 100, 9_999])
def test_a_text_has_its_size(tokenizer: Tokenizer, size: int) -> None:
    text = random_text(tokenizer, WORDS, size, seed=1)
    assert size - 3 <= len(text.encode()) <= size  # a character cut in two is left out
    assert text != random_text(tokenizer, WORDS, size, seed=2)


def test_a_list_has_different_readings_of_one_length(tokenizer: Tokenizer) -> None:
    words = [k for k in WORDS if tokenizer.token_bytes(k).startswith(b" ")]
    found = hypotheses(tokenizer, words, 1000, seed=1)
    assert len(set(found)) == 1000
    assert {len(text.split()) for text in found} == {15}
    places = list(zip(*(text.split() for text in found), strict=True))
    assert sum(len(set(readings)) == 1 for readings in places) >= 7
