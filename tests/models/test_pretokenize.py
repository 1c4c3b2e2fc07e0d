"""Chunks: bounded, of the text and nothing else, and final where the page of rules says so."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.pretokenize import MAX_WORD, SPACE_SIGN, chunks, line_start_after, split_pending

FRAGMENTS = [
    "the",
    " ",
    "  ",
    "\n",
    "\n\n",
    SPACE_SIGN,
    "\t",
    "é",
    "猫",
    "x" * 31,
    "y" * 32,
    "z" * 70,
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=12).map("".join)


@given(text=TEXTS, continuation=st.booleans())
def test_chunks_are_bounded_and_spell_the_lines(text: str, continuation: bool) -> None:
    found = chunks(text, continuation=continuation)
    assert all(0 < len(chunk) <= MAX_WORD + 1 for chunk in found)
    lines = text.split("\n")
    dummy = [" " if line and (i > 0 or not continuation) else "" for i, line in enumerate(lines)]
    prefixed = "\n".join(space + line for space, line in zip(dummy, lines, strict=True))
    assert "".join(found) == prefixed


def test_chunks_by_hand() -> None:
    assert chunks("The cat\n\n sat  on") == [
        *(" The", " cat", "\n", "\n", " ", " sat", " ", " on"),
    ]
    assert chunks(f"a {SPACE_SIGN}b ") == [" a", " ", SPACE_SIGN, "b", " "]
    assert chunks("x" * 70) == [" " + "x" * 32, "x" * 32, "x" * 6]


@given(text=TEXTS)
def test_what_is_pending_is_short_and_can_still_change(text: str) -> None:
    _, pending = split_pending(text)
    assert len(pending) <= MAX_WORD
    so_far, later = chunks(text), chunks(text + "x")
    assert (later[: len(so_far)] != so_far) == bool(pending)
    # No more is pending than the one chunk that changes.
    assert later[: len(so_far) - 1] == so_far[:-1]
    assert so_far[-1:] == [] or so_far[-1].endswith(pending)


@given(before=TEXTS, later=TEXTS, continuation=st.booleans())
@example(before="a", later="", continuation=True)
@example(before="x" * 32, later="y", continuation=False)
def test_no_later_text_changes_what_is_final(before: str, later: str, continuation: bool) -> None:
    final, pending = split_pending(before)
    assert final + pending == before
    line = line_start_after(final, continuation=continuation)
    assert chunks(before + later, continuation=continuation) == (
        chunks(final, continuation=continuation) + chunks(pending + later, continuation=not line)
    )


@pytest.mark.parametrize(
    ("text", "pending"),
    [
        ("", ""),
        ("the cat", " cat"),
        ("the ", " "),
        ("the\n", ""),
        ("the\ncat", "cat"),
        ("the  ", " "),
        (f"a{SPACE_SIGN}b", "b"),
        (f"a{SPACE_SIGN}", ""),
        (" " + "x" * 31, " " + "x" * 31),
        (" " + "x" * 32, ""),
        ("x" * 33, "x"),
    ],
)
def test_what_is_pending_by_hand(text: str, pending: str) -> None:
    assert split_pending(text)[1] == pending


@pytest.mark.parametrize(
    ("text", "continuation", "starts"),
    [("", False, True), ("", True, False), ("a\n", True, True), ("a", False, False)],
)
def test_where_a_line_starts(text: str, continuation: bool, starts: bool) -> None:
    assert line_start_after(text, continuation=continuation) is starts
