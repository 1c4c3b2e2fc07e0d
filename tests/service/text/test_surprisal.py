"""Words with their own ends: the spans, and the arithmetic against sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from service.text.history import begin, build_prompt
from service.text.surprisal import WordSpan, word_logprobs, word_spans

texts = st.text("ab thecsot\n  ▁é🙂,\t", max_size=40)


@given(text=texts, context=texts)
def test_spans_are_the_words_with_the_white_space_before_them(
    tokenizer: Tokenizer, text: str, context: str
) -> None:
    prompt = build_prompt(begin(tokenizer, bos=True).with_text(context), text, eos=False)
    spans = word_spans(prompt)
    assert [text[span.start : span.end] for span in spans] == text.split()
    assert [span.word for span in spans] == text.split()
    # Every token up to the last word's end is in exactly one word.
    assert [span.first for span in spans] == [0, *(span.stop for span in spans)][: len(spans)]
    _, ends = prompt.offsets()
    for span in spans:
        assert all(end <= span.end for end in ends[: span.stop])
        assert all(end > span.end for end in ends[span.stop :])


def test_a_text_without_a_word_has_no_span(tokenizer: Tokenizer) -> None:
    for text in ("", " \n "):
        assert word_spans(build_prompt(begin(tokenizer, bos=True), text, eos=False)) == []


def test_a_words_own_end_takes_the_place_of_the_next_ones_beginning() -> None:
    """Two words over a language of tokens _a, a, _b with P written down, summed by hand.

    P(word "aa" | start) counts only what begins with _a, goes on with a, and then ends, given that
    a word begins: P(_a) P(a | _a) P(begin | _a a) / P(begin | start).
    """
    begin_start, begin_aa, begin_b = math.log(0.9), math.log(0.3), math.log(0.25)
    tokens = np.log(np.array([0.6, 0.5, 0.2], np.float32))  # _a, a, _b: P(_b | _a a) = 0.2
    spans = [
        WordSpan(word="aa", start=0, end=2, first=0, stop=2),
        WordSpan(word="b", start=3, end=4, first=2, stop=3),
    ]
    found = word_logprobs(spans, tokens, [begin_start, begin_aa, begin_b])
    assert np.exp(found) == pytest.approx([0.6 * 0.5 * 0.3 / 0.9, 0.2 * 0.25 / 0.3])
    # Over the whole text the factors cancel but for the first and the last.
    whole = float(tokens.sum()) + begin_b - begin_start
    assert sum(found) == pytest.approx(whole)


def test_each_word_needs_the_end_of_the_one_before_it() -> None:
    span = WordSpan(word="a", start=0, end=1, first=0, stop=1)
    with pytest.raises(ValueError, match="longer"):
        word_logprobs([span], np.zeros(1, np.float32), [0.0, 0.0, 0.0])
