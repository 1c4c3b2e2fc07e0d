"""Stop strings against a naive reading of the rule, one character at a time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.text.stop_strings import StopScanner, StopStrings

# Few letters, so that stop strings occur, overlap and contain each other.
TEXTS = st.text(alphabet="abc\né", max_size=30)
STOPS = st.lists(st.text(alphabet="abc\né", min_size=1, max_size=5), max_size=5)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """The shown text and whether it was stopped, by trying every end and every stop string."""
    for end in range(1, len(text) + 1):
        if ending := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, ending))], True
    return text, False


def pieces(text: str, cuts: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in itertools.pairwise(borders)]


@given(TEXTS, STOPS, st.lists(st.integers(0, 100), max_size=8))
def test_result_is_the_naive_one_however_the_text_is_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    scanner = StopScanner(StopStrings(stops))
    shown = "".join(scanner.push(piece) for piece in pieces(text, cuts))
    stopped = scanner.stopped
    shown += scanner.flush()
    assert (shown, stopped) == naive(text, stops)


@given(TEXTS, STOPS)
def test_exactly_what_could_become_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    scanner = StopScanner(StopStrings(stops))
    shown = ""
    for end, char in enumerate(text, start=1):
        shown += scanner.push(char)
        if scanner.stopped:
            break
        starts = {stop[:length] for stop in stops for length in range(1, len(stop))}
        tails = [tail for tail in starts if text[:end].endswith(tail)]
        assert len(shown) == end - max(map(len, tails), default=0)


def test_the_string_that_is_complete_first_stops() -> None:
    scanner = StopScanner(StopStrings(["abcd", "bc"]))
    assert scanner.push("xabcd") == "xa"
    assert scanner.stopped


def test_nothing_follows_a_stop() -> None:
    scanner = StopScanner(StopStrings(["\n"]))
    assert scanner.push("one\ntwo") == "one"
    assert scanner.push("three") == ""
    assert scanner.flush() == ""


@pytest.mark.parametrize("char", list("]^-\\.["))
def test_characters_with_a_meaning_in_patterns_are_plain_here(char: str) -> None:
    scanner = StopScanner(StopStrings([char + "!", "^a"]))
    assert scanner.push("b-a" + char) == "b-a"
    assert scanner.push("!") == ""
    assert scanner.stopped


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match="stop: an empty string"):
        StopStrings(["a", ""])
