"""Least-recently-used cache: token prefix -> state, within a bound of bytes.

Since an LSTM's state is of one size for any history, a prefix of any length costs the same to
keep, and any token may be the end of one. With a state lie the log-probabilities of the prefix's
tokens as far as they were computed, so that a cached prefix can still be scored.

Prefixes lie in a compressed tree for each start: what they share is kept once, a lookup walks along
the given tokens and nothing else, and a continuation is kept in the time that its new tokens take.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats
from service.engine_state import EngineState

_OVERHEAD = 700  # bytes of Python objects a node, measured roughly

Ids = NDArray[np.int32]


class CachedPrefix:
    """A node of the tree: a run of tokens after its parent's, and perhaps the state after them.

    tokens, logprobs: (T,) each, NaN where ln P was not computed. The root has none; its `start`
    is the key of its tree.
    """

    __slots__ = ("children", "is_kept", "logprobs", "parent", "start", "state", "tokens")

    def __init__(
        self, parent: CachedPrefix | None, tokens: Ids, logprobs: Floats, start: bytes = b""
    ) -> None:
        self.parent, self.tokens, self.logprobs, self.start = parent, tokens, logprobs, start
        self.children: dict[int, CachedPrefix] = {}
        self.state: Floats | None = None
        self.is_kept = True

    @property
    def num_bytes(self) -> int:
        state = 0 if self.state is None else self.state.nbytes
        return self.tokens.nbytes + self.logprobs.nbytes + state + _OVERHEAD


@dataclass(frozen=True, slots=True)
class Found:
    """A kept prefix of `size` tokens: its state (S,) and ln P of each token, (size,).

    state is the cache's own: copy before writing.
    """

    size: int
    state: Floats
    logprobs: Floats


class StateCache:
    """Keys are (start, tokens); `start` names what the tokens continue, see `start_key`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.num_bytes, self.hits, self.lookups = max_bytes, 0, 0, 0
        self._roots: dict[bytes, CachedPrefix] = {}
        self._by_use: OrderedDict[CachedPrefix, None] = OrderedDict()  # those with a state

    def __len__(self) -> int:
        """Kept states."""
        return len(self._by_use)

    def put(
        self,
        start: bytes,
        tokens: Sequence[int],
        state: Floats,
        logprobs: Sequence[float] | Floats,
        after: CachedPrefix | None = None,
    ) -> CachedPrefix | None:
        """Keep a copy of `state` after `tokens`; the states that were used longest ago make room.

        after: what `tokens` and `logprobs` continue, in place of `start`; it must be kept still.
        Returns where the state lies, None where it is too large to be kept, or not finite: what a
        damage left would meet others. Log-probabilities that are known from an earlier time and
        missing now stay known.
        """
        size = state.nbytes + 8 * len(tokens) + _OVERHEAD
        if not tokens or size > self.max_bytes or not np.isfinite(state).all():
            return None
        root = after or self._roots.get(start)
        if root is None:
            root = self._roots[start] = CachedPrefix(None, _ids(()), _floats(()), start)
        assert root.is_kept
        node = self._reach(root, _ids(tokens), _floats(logprobs))
        if node.state is None:
            self.num_bytes += state.nbytes
        node.state = state.copy()
        self._by_use[node] = None
        self._by_use.move_to_end(node)
        while self.num_bytes > self.max_bytes:
            self._evict()
        return node if node.is_kept else None

    def longest(
        self, start: bytes, tokens: Sequence[int], max_size: int, score_from: int
    ) -> Found | None:
        """Longest kept prefix of at most `max_size` of `tokens` that can be used.

        Its tokens from number `score_from` on must have their log-probabilities.
        """
        self.lookups += 1
        node, size = self._roots.get(start), 0
        best: tuple[int, CachedPrefix] | None = None
        while node is not None:
            if node.state is not None:
                best = size, node
            child = node.children.get(tokens[size]) if size < max_size else None
            end = size if child is None else size + len(child.tokens)
            if child is None or end > max_size:
                break
            unknown = np.isnan(child.logprobs[max(0, score_from - size) :]).any()
            if unknown or not np.array_equal(child.tokens, _ids(tokens[size:end])):
                break
            node, size = child, end
        if best is None:
            return None
        self.hits += 1
        size, node = best
        self._by_use.move_to_end(node)
        assert node.state is not None
        parts = [part.logprobs for part in _upwards(node)]
        return Found(size, node.state, np.concatenate(parts[::-1]))

    def _reach(self, node: CachedPrefix, tokens: Ids, logprobs: Floats) -> CachedPrefix:
        """The node after `tokens`, made by growing and splitting."""
        position = 0
        while position < len(tokens):
            child = node.children.get(int(tokens[position]))
            if child is None:
                own = tokens[position:].copy(), logprobs[position:].copy()
                child = node.children[int(tokens[position])] = CachedPrefix(node, *own)
                self.num_bytes += child.num_bytes
                return child
            size = _common(child.tokens, tokens[position:])
            if size < len(child.tokens):
                child = self._split(child, size)
            given = logprobs[position : position + size]
            np.copyto(child.logprobs, given, where=~np.isnan(given))
            node, position = child, position + size
        return node

    def _split(self, lower: CachedPrefix, size: int) -> CachedPrefix:
        """Cut a node after `size` tokens; returns the new upper part, which has no state."""
        parent = lower.parent
        assert parent is not None
        self.num_bytes -= lower.num_bytes
        upper = CachedPrefix(parent, lower.tokens[:size].copy(), lower.logprobs[:size].copy())
        lower.tokens, lower.logprobs = lower.tokens[size:].copy(), lower.logprobs[size:].copy()
        lower.parent = upper
        parent.children[int(upper.tokens[0])] = upper
        upper.children[int(lower.tokens[0])] = lower
        self.num_bytes += upper.num_bytes + lower.num_bytes
        return upper

    def _evict(self) -> None:
        """Forget the state used longest ago, and what led to nothing else."""
        node, _ = self._by_use.popitem(last=False)
        assert node.state is not None
        self.num_bytes -= node.state.nbytes
        node.state = None
        while node.state is None and not node.children:
            parent, node.is_kept = node.parent, False
            if parent is None:
                del self._roots[node.start]
                return
            self.num_bytes -= node.num_bytes
            del parent.children[int(node.tokens[0])]
            node = parent

    def check_integrity(self) -> None:
        """Assert that the books agree with what is kept; called when the engine is idle."""
        num_bytes, with_state = 0, set()
        for node in self._nodes():
            assert node.is_kept
            assert node.children or node.state is not None, "a run of tokens leads nowhere"
            if node.parent is not None:
                assert len(node.tokens) == len(node.logprobs) > 0
                assert node.parent.children[int(node.tokens[0])] is node
                num_bytes += node.num_bytes
            if node.state is not None:
                with_state.add(node)
        assert self.num_bytes == num_bytes <= self.max_bytes
        assert with_state == set(self._by_use)

    def _nodes(self) -> Iterator[CachedPrefix]:
        stack = list(self._roots.values())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()


def start_key(start: EngineState | None, scope: str = "") -> bytes:
    """Name of what a request's tokens continue: empty for nothing, in nobody's scope."""
    if start is None and not scope:
        return b""
    vector = b"" if start is None else start.to_bytes()
    owner = hashlib.blake2b(scope.encode(), digest_size=16).digest()
    return hashlib.blake2b(owner + vector, digest_size=16).digest()


def _upwards(node: CachedPrefix) -> Iterator[CachedPrefix]:
    current: CachedPrefix | None = node
    while current is not None:
        yield current
        current = current.parent


def _common(own: Ids, tokens: Ids) -> int:
    """Length of the common beginning."""
    size = min(len(own), len(tokens))
    differ = own[:size] != tokens[:size]
    return int(differ.argmax()) if differ.any() else size


def _ids(tokens: Sequence[int]) -> Ids:
    return np.array(tokens, np.int32)


def _floats(values: Sequence[float] | Floats) -> Floats:
    return np.array(values, np.float32)
