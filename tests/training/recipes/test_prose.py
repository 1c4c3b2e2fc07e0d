import re

from hypothesis import given
from hypothesis import strategies as st

from training.recipes.prose import (
    sentences,
    spoken_sentences,
    wikitext_form,
    without_works,
    words,
    work,
)

LIBRARY = ["= Ann Hill: One =", "a", "b", "= Bo Lake: Two =", "c", "= Ann Hill: Three =", "d"]


def test_works_of_an_author_are_left_out() -> None:
    kept = list(without_works(LIBRARY, re.compile(r"\bHill\b")))
    assert kept == ["= Bo Lake: Two =", "c"]
    assert list(without_works(LIBRARY, re.compile("Nobody"))) == LIBRARY


def test_a_work_is_found_by_its_title() -> None:
    assert list(work(LIBRARY, "Three")) == ["d"]
    assert list(work(LIBRARY, "One")) == ["a", "b"]


def test_sentences_end_at_a_stop_before_a_capital() -> None:
    text = 'Mr. J. Hill came. "Did he?" she asked. He did! 3.5 miles, e.g. by foot.'
    assert list(sentences(text)) == [
        "Mr. J. Hill came.",
        '"Did he?" she asked.',
        "He did! 3.5 miles, e.g. by foot.",
    ]


@given(st.lists(st.sampled_from(["Mr.", "Hill", "went.", 'out."', "He", "(Then", "it", "St."])))
def test_sentences_lose_no_word(parts: list[str]) -> None:
    assert " ".join(sentences(" ".join(parts))).split() == parts


def test_spoken_sentences_have_no_figures_no_marks_and_a_fair_length() -> None:
    lines = ["= T =", "Yes. It's a fine day, sir! In 1900 it was not.", "", "He went out again."]
    assert list(spoken_sentences(lines, every=1)) == ["it's a fine day sir", "he went out again"]
    assert list(spoken_sentences(lines, every=2)) == ["it's a fine day sir"]


def test_articles_in_the_form_of_wikitext() -> None:
    text = 'It\'s a well-known 1,500 m race (won by the U.S.), 3.5 km longer... than "it".'
    form = (
        "It 's a well @-@ known 1 @,@ 500 m race ( won by the U.S. ) , "
        '3 @.@ 5 km longer ... than " it " .'
    )
    vocabulary = words([form])
    assert list(wikitext_form(["= Race =", text], vocabulary | {"Race"})) == [
        "",
        "= Race =",
        "",
        form,
    ]


def test_rare_words_are_unknown_and_a_paragraph_full_of_them_is_left_out() -> None:
    common = " ".join(["word"] * 24)
    lines = [f"{common} zyx", f"{common} zyx zyx", "zyx"]
    assert list(wikitext_form(lines, {"word"})) == [f"{common} <unk>"]
