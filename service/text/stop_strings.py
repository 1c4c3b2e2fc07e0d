"""Stop strings in a growing text: found wherever the text happens to be cut into pieces.

All stop strings are matched at once with an automaton (Aho and Corasick, 1975). The depth of its
state is the length of the longest tail of the text that could still become a stop string; exactly
that much is held back, and no more.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence


class StopStrings:
    """The stop strings of one request, compiled; immutable and shared by its continuations.

    The text ends at the stop string that is *complete* first; of several that end at the same
    character the longest counts. This does not depend on how the text arrives.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        """Raises ValueError for an empty string, which would stop everywhere."""
        if "" in strings:
            raise ValueError("stop: an empty string cannot be a stop string")
        self._next: list[dict[str, int]] = [{}]  # trie; node 0 is the root
        self._depth = [0]
        self._match = [0]  # length of the longest stop string that ends at a node, 0 for none
        for string in strings:
            self._insert(string)
        self._fallback = [0] * len(self._next)  # node of the longest proper suffix in the trie
        self._link()
        starts = "".join(re.escape(char) for char in self._next[0])
        # Almost every piece of text holds no character that a stop string starts with.
        self._start = re.compile(f"[{starts}]") if starts else None

    def _insert(self, string: str) -> None:
        node = 0
        for depth, char in enumerate(string, start=1):
            child = self._next[node].get(char)
            if child is None:
                child = len(self._next)
                self._next[node][char] = child
                self._next.append({})
                self._depth.append(depth)
                self._match.append(0)
            node = child
        self._match[node] = len(string)

    def _link(self) -> None:
        """Fallbacks breadth first, so that those of shorter strings are there when needed."""
        queue = deque(self._next[0].values())
        while queue:
            node = queue.popleft()
            self._match[node] = self._match[node] or self._match[self._fallback[node]]
            for char, child in self._next[node].items():
                self._fallback[child] = self.step(self._fallback[node], char)
                queue.append(child)

    def step(self, node: int, char: str) -> int:
        """The state after one more character."""
        while (child := self._next[node].get(char)) is None:
            if node == 0:
                return 0
            node = self._fallback[node]
        return child

    def first_start(self, text: str) -> int | None:
        """Where the first character that could start a stop string stands in `text`."""
        found = self._start.search(text) if self._start else None
        return found.start() if found else None

    def held(self, node: int) -> int:
        """Characters at the end of the text that could still become a stop string."""
        return self._depth[node]

    def matched(self, node: int) -> int:
        """Length of the stop string that is complete at this state, 0 for none."""
        return self._match[node]


class StopScanner:
    """Follows one continuation. Concatenated, what `push` and `flush` return is the shown text."""

    def __init__(self, stops: StopStrings, *, shows_stop: bool = False) -> None:
        """`shows_stop`: the stop string itself is shown."""
        self._stops, self._shows_stop = stops, shows_stop
        self._node = 0
        self._held = ""
        self.stopped_by: str | None = None  # the stop string that was complete

    @property
    def stopped(self) -> bool:
        return self.stopped_by is not None

    def push(self, text: str) -> str:
        """Take more text, return what may be shown now. Sets `stopped_by` when a stop string ended.

        The stop string itself, unless it is to be shown, and all that follows it is never returned.
        """
        if self.stopped:
            return ""
        stops, node, start = self._stops, self._node, 0
        if node == 0:
            first = stops.first_start(text)
            if first is None:
                return text
            start = first
        buffer = self._held + text
        for position in range(len(self._held) + start, len(buffer)):
            node = stops.step(node, buffer[position])
            if length := stops.matched(node):
                end = position + 1
                self.stopped_by = buffer[end - length : end]
                self._held = ""
                return buffer[: end if self._shows_stop else end - length]
        self._node = node
        shown = len(buffer) - stops.held(node)
        self._held = buffer[shown:]
        return buffer[:shown]

    def flush(self) -> str:
        """What was held back, once no more text can come."""
        held, self._held, self._node = self._held, "", 0
        return held
