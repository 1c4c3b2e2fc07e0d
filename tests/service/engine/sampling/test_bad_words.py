"""All words at once, against looking for each of them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from service.engine.sampling.bad_words import BadWords

tokens = st.integers(0, 2)
texts = st.lists(tokens, max_size=12)
words = st.lists(st.lists(tokens, min_size=1, max_size=5), max_size=8)


def completing(words: Sequence[Sequence[int]], text: Sequence[int]) -> set[int]:
    """Last tokens of the words whose other tokens end the text."""
    return {last for *first, last in words if list(text[len(text) - len(first) :]) == first}


@given(words=words, text=texts, more=texts)
def test_what_would_complete_a_word_is_banned_after_every_token(
    words: list[list[int]], text: list[int], more: list[int]
) -> None:
    automaton = BadWords(words)
    state = automaton.after(text)
    for token in more:
        assert set(automaton.banned(state)) == completing(words, text)
        text = [*text, token]
        state = automaton.step(state, token)
    assert set(automaton.banned(state)) == completing(words, text)


def test_many_long_words_cost_no_more_than_the_one_that_is_begun() -> None:
    """256 words of a hundred tokens, alike but for their first: each ends its search at once."""
    automaton = BadWords([[k + 10, *[7] * 100, 8] for k in range(256)])
    state = automaton.after([300, *[7] * 50])
    assert automaton.banned(state) == []
    assert automaton.banned(automaton.after([255, *[7] * 100])) == [8]
