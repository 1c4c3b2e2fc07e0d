"""Token sequences that must not be completed, all matched at once.

An automaton (Aho & Corasick 1975) over the sequences without their last tokens: its state stands
for the longest end of the text that begins one of them, so a token costs the same however many
there are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence


class BadWords:
    """Immutable; shared by the continuations of a request. State 0: nothing has begun."""

    def __init__(self, words: Iterable[Sequence[int]]) -> None:
        """`words`: sequences of one token at least."""
        self._next: list[dict[int, int]] = [{}]
        self._last: list[list[int]] = [[]]  # tokens that complete a word whose begin a state is
        self.longest = 0  # tokens before the last one of the longest word
        for word in words:
            self._insert(word)
        self._fallback = [0] * len(self._next)  # state of the longest proper end of a state's text
        # The nearest state among the fallbacks that has tokens to ban; -1 for none.
        self._banning = [-1] * len(self._next)
        self._link()

    def _insert(self, word: Sequence[int]) -> None:
        state = 0
        for token in word[:-1]:
            following = self._next[state].get(token)
            if following is None:
                following = self._next[state][token] = len(self._next)
                self._next.append({})
                self._last.append([])
            state = following
        self._last[state].append(word[-1])
        self.longest = max(self.longest, len(word) - 1)

    def _link(self) -> None:
        """Breadth first, so that fallbacks of shorter texts are there when needed."""
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            fallback = self._fallback[state]
            self._banning[state] = fallback if self._last[fallback] else self._banning[fallback]
            for token, following in self._next[state].items():
                self._fallback[following] = self.step(fallback, token)
                queue.append(following)

    def step(self, state: int, token: int) -> int:
        """The state after one more token."""
        while (following := self._next[state].get(token)) is None:
            if state == 0:
                return 0
            state = self._fallback[state]
        return following

    def after(self, tokens: Sequence[int]) -> int:
        """The state after a text; only its last `longest` tokens matter."""
        state = 0
        for token in tokens[max(0, len(tokens) - self.longest) :]:
            state = self.step(state, token)
        return state

    def banned(self, state: int) -> list[int]:
        """Tokens that would complete a word now."""
        tokens = list(self._last[state])
        while (state := self._banning[state]) >= 0:
            tokens += self._last[state]
        return tokens
