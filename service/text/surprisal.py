"""How surprising each word is, with its own end and without the next word's beginning. Pure.

Tokens carry the white space before them, so that the product of a word's tokens does not say that
the word ends, but does say that the word before it has ended. Where every word of a text is to be
compared with a reading time, that belongs to the wrong word (Oh & Schuler 2024, "Leading
Whitespaces of Language Models' Subword Vocabulary Pose a Confound for Calculating Word
Probabilities"; Pimentel & Meister 2024, "How to Compute the Probability of a Word"):

    P(word | before) = P(tokens | before) * P(begin | before, word) / P(begin | before)

where "begin" says that the next token begins a word.

Over a text the factors cancel but for the first and the last. Punctuation belongs to the word that
it is written on; the white space of a text is not scored apart.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.text.history import Prompt

_WORD = re.compile(r"\S+")


@dataclass(frozen=True, kw_only=True, slots=True)
class WordSpan:
    """A word by its characters start..end-1 and its tokens first..stop-1 of the text's."""

    word: str
    start: int
    end: int
    first: int
    stop: int


def word_spans(prompt: Prompt) -> list[WordSpan]:
    """The words of a text scored without end-of-sequence, each with the white space before it."""
    _, ends = prompt.offsets()
    found = list(_WORD.finditer(prompt.text))
    if not found:
        return []
    stops = np.searchsorted(ends, [each.end() for each in found], side="right").tolist()
    return [
        WordSpan(word=each[0], start=each.start(), end=each.end(), first=first, stop=stop)
        for each, first, stop in zip(found, [0, *stops[:-1]], stops, strict=True)
    ]


def word_logprobs(
    spans: Sequence[WordSpan], logprobs: NDArray[np.float32], ends: Sequence[float]
) -> list[float]:
    """ln P of each word, its own end included.

    logprobs: of the text's tokens. ends: ln P(a word begins) before the first word and after each.
    """
    values = logprobs.tolist()
    return [
        math.fsum((*values[span.first : span.stop], after, -before))
        for span, before, after in zip(spans, ends[:-1], ends[1:], strict=True)
    ]
