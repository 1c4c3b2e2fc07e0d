"""Text as a recogniser writes it: one answer by hand, and what holds of every text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.spoken_text import asr_text

# Without a letter whose lower case is two characters, of which the second is none (İ).
TEXTS = st.text(st.characters(exclude_characters="İ"), max_size=60) | st.text(
    "aB'’-_ .,\t\n3É!", max_size=40
)


def test_spoken_text_keeps_words_and_inner_apostrophes() -> None:
    assert asr_text("Don’t “stop” -- it's 5 o'clock!\nÉté_fini; 'tis") == (
        "don't stop it's 5 o'clock\nété fini tis"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rock 'n' roll", "rock n roll"),
        ("the dogs' bowl", "the dogs bowl"),
        ("3.14 and 1,000", "3 14 and 1 000"),
        ("e-mail/post", "e mail post"),
        ("a '_b", "a b"),
        ("it'_s", "it s"),
        ("...", ""),
        ("one\n\n two ", "one\n\ntwo"),
    ],
)
def test_by_hand(text: str, expected: str) -> None:
    assert asr_text(text) == expected


@given(TEXTS)
def test_lines_are_kept_and_their_words_stand_apart_by_one_space(text: str) -> None:
    spoken = asr_text(text)
    assert spoken.count("\n") == text.count("\n")
    for line in spoken.split("\n"):
        assert line == " ".join(line.split())
        assert line == line.lower()
        assert re.fullmatch(r"[^\W_]*", re.sub(r"[\s']", "", line)) is not None
        assert not re.search(r"(^|\s)'|'(\s|$)", line)


@given(TEXTS)
def test_what_is_spoken_already_stays_as_it_is(text: str) -> None:
    assert asr_text(asr_text(text)) == asr_text(text)
