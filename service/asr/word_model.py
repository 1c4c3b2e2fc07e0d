"""Language models as a recogniser uses them: a word at a time, states kept by the caller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from service.text.rescoring import mix


class WordModel(Protocol):
    """Scores words one after another; any number of states advance in one call.

    A state is opaque and is never changed: it can be advanced by several words. All scores are
    natural logarithms. A sentence has a term for each of its words and one for its end.
    """

    def start(self) -> Any:
        """The state before a sentence's first word."""
        ...

    def advance(self, states: Sequence[Any], words: Sequence[str]) -> tuple[list[float], list[Any]]:
        """ln P(word | state) for each pair, and the states after the words."""
        ...

    def end(self, states: Sequence[Any]) -> list[float]:
        """ln P(sentence end | state) for each state."""
        ...


class MixedModel:
    """Two models, linearly interpolated word by word (Jelinek and Mercer 1980)."""

    def __init__(self, first: WordModel, second: WordModel, share: float) -> None:
        """share: the first one's, in 0..1."""
        if not 0 <= share <= 1:
            raise ValueError(f"the share of a mixture is in 0..1, not {share}")
        self._first, self._second, self._share = first, second, share

    def start(self) -> tuple[Any, Any]:
        return self._first.start(), self._second.start()

    def advance(
        self, states: Sequence[tuple[Any, Any]], words: Sequence[str]
    ) -> tuple[list[float], list[tuple[Any, Any]]]:
        ours, ours_after = self._first.advance([own for own, _ in states], words)
        theirs, theirs_after = self._second.advance([own for _, own in states], words)
        return self._mixed(ours, theirs), list(zip(ours_after, theirs_after, strict=True))

    def end(self, states: Sequence[tuple[Any, Any]]) -> list[float]:
        ours = self._first.end([own for own, _ in states])
        return self._mixed(ours, self._second.end([own for _, own in states]))

    def _mixed(self, ours: list[float], theirs: list[float]) -> list[float]:
        return [mix(a, b, self._share) for a, b in zip(ours, theirs, strict=True)]


def sentence_scores(model: WordModel, sentences: Sequence[Sequence[str]]) -> list[list[float]]:
    """ln P of each word and then of the end, by sentence; all sentences side by side."""
    states = [model.start() for _ in sentences]
    found: list[list[float]] = [[] for _ in sentences]
    longest = max(map(len, sentences), default=0)
    for place in range(longest):
        going = [index for index, words in enumerate(sentences) if place < len(words)]
        scores, after = model.advance(
            [states[index] for index in going], [sentences[index][place] for index in going]
        )
        for index, score, state in zip(going, scores, after, strict=True):
            found[index].append(score)
            states[index] = state
    for own, score in zip(found, model.end(states), strict=True):
        own.append(score)
    return found
