"""The form in which a model is asked about a hypothesis; the hypothesis itself stays as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from models.spoken_text import asr_text

TextForm = Literal["as-is", "asr", "cased"]

_LONE_I = re.compile(r"\bi(?=$|\s|')")


def render(text: str, form: TextForm) -> str:
    """`text` for the model.

    asr: lower case, no punctuation, for models of such text and recognisers that write otherwise.
    cased: a capital at the beginning and for "i", a full stop at the end, for models of prose
        alone; a model that knows lower-case text does better without, by 2 points of error rate.
    """
    if form == "as-is":
        return text
    spoken = asr_text(text)
    if form == "asr" or not spoken:
        return spoken
    cased = _LONE_I.sub("I", spoken)
    return f"{cased[0].upper()}{cased[1:]}."


def hot_word_score(text: str, hot_words: Mapping[str, float]) -> float:
    """The sum of the weights of the hot words and phrases in a text, each as often as it stands
    there. Whole words; case matters as it does to the model."""
    if not hot_words:
        return 0.0
    padded = f" {' '.join(text.split())} "
    return sum(
        weight * _occurrences(padded, f" {' '.join(phrase.split())} ")
        for phrase, weight in hot_words.items()
    )


def _occurrences(padded: str, phrase: str) -> int:
    """How often a phrase stands in a text; both have a space at either end, which may be shared."""
    if phrase.isspace():
        return 0
    count, at = 0, padded.find(phrase)
    while at >= 0:
        count += 1
        at = padded.find(phrase, at + len(phrase) - 1)
    return count
