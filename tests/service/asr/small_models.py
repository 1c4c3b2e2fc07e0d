"""Word models whose scores can be computed by hand: of whole histories, and of n-grams."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

END = "</s>"


def made_up_score(words: Sequence[str]) -> float:
    """A number in -4..0 that depends on every word."""
    digest = hashlib.sha256(" ".join(words).encode()).digest()
    return -4 * digest[0] / 256


class HashModel:
    """ln P of a word depends on the last `order` - 1 words before it, or on all of them.

    calls: how many pairs each call of `advance` had.
    """

    def __init__(self, order: int | None = None) -> None:
        self.order = order
        self.calls: list[int] = []

    def start(self) -> tuple[str, ...]:
        return ("<s>",)

    def score(self, state: tuple[str, ...], word: str) -> float:
        return made_up_score((*self._kept(state), word))

    def advance(
        self, states: Sequence[tuple[str, ...]], words: Sequence[str]
    ) -> tuple[list[float], list[tuple[str, ...]]]:
        self.calls.append(len(states))
        pairs = list(zip(states, words, strict=True))
        return [self.score(*pair) for pair in pairs], [(*state, word) for state, word in pairs]

    def end(self, states: Sequence[tuple[str, ...]]) -> list[float]:
        return [self.score(state, END) for state in states]

    def whole(self, words: Sequence[str]) -> float:
        """ln P of a sentence and its end."""
        line = ["<s>", *words]
        total = sum(self.score(tuple(line[: i + 1]), word) for i, word in enumerate(words))
        return total + self.score(tuple(line), END)

    def _kept(self, state: tuple[str, ...]) -> tuple[str, ...]:
        return state if self.order is None else state[max(0, len(state) - self.order + 1) :]
