"""Whether lists and references are written alike; a word in capitals is wrong in lower case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.spoken_text import asr_text
from service.asr.hypotheses import NBestList

_TOLD_FROM = 0.1  # of the references' words


def spelling_fault(lists: Sequence[NBestList], references: Mapping[str, str]) -> str | None:
    """What to tell someone whose lists and references differ in capitals or punctuation.

    Counts the references' words that stand anywhere in their list, as written and in the form of
    `models.spoken_text`. None where that form finds no more than a tenth of the words besides.
    """
    num_words = num_as_is = num_spoken = 0
    for own in lists:
        spoken = [(word, asr_text(word)) for word in references.get(own.id, "").split()]
        there = {word for hypothesis in own.hypotheses for word in hypothesis.words}
        there_spoken = {asr_text(word) for word in there}
        num_words += len(spoken)
        num_as_is += sum(word in there for word, _ in spoken)
        num_spoken += sum(plain in there_spoken for _, plain in spoken)
    if num_spoken - num_as_is <= _TOLD_FROM * num_words:
        return None
    return (
        "references and lists are not written alike: of the references' words "
        f"{num_as_is / num_words:.0%} stand in their lists, {num_spoken / num_words:.0%} where "
        "both are in lower case without punctuation. What differs counts as an error"
    )
