import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.keystrokes import SHOWN, Place, keystrokes, measure, places

WORDS = ("the", "then", "they", "there", "a", "them")


@pytest.mark.parametrize(
    ("word", "needed"),
    [
        ("the", 1),  # shown at once
        ("they", 1),
        ("there", 5),  # after "t", "th" and "the" three others come first
        ("a", 1 + 1),  # "a" typed out costs as much
        ("them", 5),  # never among three before it is whole
        ("cat", 4),  # not proposed: its letters and a space
    ],
)
def test_keystrokes_until_a_word_stands_there(word: str, needed: int) -> None:
    assert keystrokes(word, WORDS) == needed


@given(st.text("abc", min_size=1, max_size=6), st.lists(st.text("abc", min_size=1), max_size=9))
def test_proposals_never_cost_more_than_typing(word: str, proposals: list[str]) -> None:
    assert 1 <= keystrokes(word, proposals) <= len(word) + 1
    assert keystrokes(word, [word, *proposals]) == 1
    assert keystrokes(word, []) == len(word) + 1


def test_places_are_spread_and_know_their_line_alone() -> None:
    lines = ["a b c", "", "d e f"]
    assert places(lines, 100) == [
        *(Place("", "a"), Place("a", "b"), Place("a b", "c")),
        *(Place("", "d"), Place("d", "e"), Place("d e", "f")),
    ]
    assert places(lines, 3) == [Place("", "a"), Place("a b", "c"), Place("d", "e")]
    assert places([""], 3) == []


def test_rates_by_hand() -> None:
    chosen = [Place("", "the"), Place("x", "there"), Place("y", "cat")]
    assert measure(chosen, lambda _: WORDS) == {
        "words": 3,
        "hit_at_1": 33.3,
        "hit_at_3": 33.3,
        "keystrokes_saved": round(100 * (1 - (1 + 5 + 4) / (4 + 6 + 4)), 1),
    }
    assert SHOWN == 3
