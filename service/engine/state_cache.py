"""Least-recently-used cache: token prefix -> state, within a bound of bytes; and its use.

Since an LSTM's state is of one size for any history, a prefix of any length costs the same to
keep, and any token may be the end of one. With a state lie the log-probabilities of the prefix's
tokens as far as they were computed, so that a cached prefix can still be scored. `PrefixMemory`
says what the engine keeps for later requests, and how they begin after it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.engine.prefix_tree import Node
from service.engine.request import Floats
from service.engine.sequences import NodeUnit, Progress, SampleUnit
from service.engine_state import EngineState

_OVERHEAD = 400  # bytes of Python objects an entry, measured roughly


@dataclass(frozen=True, slots=True)
class Entry:
    """logprobs: of each token of the prefix, NaN where not computed."""

    state: Floats
    logprobs: Floats

    def covers(self, score_from: int, size: int) -> bool:
        """Whether tokens score_from..size-1 of the prefix have their log-probabilities."""
        return not np.isnan(self.logprobs[score_from:size]).any()


class StateCache:
    """Keys are (start, tokens); `start` names the state that the tokens continue."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.num_bytes, self.hits, self.lookups = max_bytes, 0, 0, 0
        self._entries: OrderedDict[tuple[bytes, bytes], Entry] = OrderedDict()
        self._lengths: dict[bytes, Counter[int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, start: bytes, tokens: Sequence[int], state: Floats, logprobs: Floats) -> None:
        """Keep a copy of `state` after `tokens`; the oldest entries make room.

        Log-probabilities that are known from an earlier time and missing now stay known.
        """
        if not tokens:
            return
        key = (start, _pack(tokens))
        if (known := self._drop(key)) is not None:
            logprobs = np.where(np.isnan(logprobs), known.logprobs, logprobs)
        entry = Entry(state.copy(), logprobs.copy())
        size = _entry_bytes(key, entry)
        if size > self.max_bytes:
            return
        self._entries[key] = entry
        self._lengths.setdefault(start, Counter())[len(tokens)] += 1
        self.num_bytes += size
        while self.num_bytes > self.max_bytes:
            self._drop(next(iter(self._entries)))

    def longest(
        self, start: bytes, tokens: Sequence[int], max_size: int, score_from: int
    ) -> tuple[int, Entry] | None:
        """Longest kept prefix of at most `max_size` of `tokens` whose scores suffice.

        The entry's arrays are the cache's own: copy before writing.
        """
        self.lookups += 1
        lengths = self._lengths.get(start)
        if lengths:
            packed = _pack(tokens[:max_size])
            for size in sorted(lengths, reverse=True):
                if size > max_size:
                    continue
                key = (start, packed[: 4 * size])
                entry = self._entries.get(key)
                if entry is not None and entry.covers(score_from, size):
                    self._entries.move_to_end(key)
                    self.hits += 1
                    return size, entry
        return None

    def _drop(self, key: tuple[bytes, bytes]) -> Entry | None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.num_bytes -= _entry_bytes(key, entry)
        lengths, size = self._lengths[key[0]], len(key[1]) // 4
        lengths[size] -= 1
        if not lengths[size]:
            del lengths[size]
        if not lengths:
            del self._lengths[key[0]]
        return entry

    def check_integrity(self) -> None:
        """Assert that the books agree with what is kept; called when the engine is idle."""
        assert self.num_bytes == sum(_entry_bytes(k, e) for k, e in self._entries.items())
        assert self.num_bytes <= self.max_bytes
        lengths: dict[bytes, Counter[int]] = {}
        for (start, tokens), entry in self._entries.items():
            lengths.setdefault(start, Counter())[len(tokens) // 4] += 1
            assert len(entry.logprobs) == len(tokens) // 4
        assert lengths == self._lengths


def start_key(start: EngineState | None) -> bytes:
    """Name of a start state: empty for the state of nothing."""
    return b"" if start is None else hashlib.blake2b(start.to_bytes(), digest_size=16).digest()


def _pack(tokens: Sequence[int]) -> bytes:
    return np.array(tokens, np.int32).tobytes()


def _entry_bytes(key: tuple[bytes, bytes], entry: Entry) -> int:
    return entry.state.nbytes + entry.logprobs.nbytes + len(key[1]) + _OVERHEAD


_SHORTEST = 2  # a shorter prefix is computed as fast as it is found


class PrefixMemory:
    """The state cache, seen from units of work.

    head_of: distribution (V,) after a state that is in no row.
    """

    def __init__(self, cache: StateCache, head_of: Callable[[Floats], Floats]) -> None:
        self._cache, self._head_of = cache, head_of

    def keep_node(self, progress: Progress, node: Node, state: Floats) -> None:
        """Keep the state at the end of a node, if no sequences part before it."""
        if node.end < _SHORTEST or not node.is_trunk:
            return
        tokens = progress.path_tokens(node)
        logprobs = np.array(progress.path_logprobs(node), np.float32)
        self._cache.put(progress.start_key, tokens, state, logprobs)

    def keep_sample(self, unit: SampleUnit, state: Floats, fed: int) -> None:
        """Keep the state that a continuation has after `fed` of its tokens."""
        progress = unit.progress
        tokens = [*progress.request.prompts[unit.prompt], *unit.state.generated[:fed]]
        scores = progress.path_logprobs(progress.tree.leaves[unit.prompt])
        logprobs = np.array([*scores, *unit.logprobs[:fed]], np.float32)
        self._cache.put(progress.start_key, tokens, state, logprobs)

    def skip(self, unit: NodeUnit) -> int:
        """Let a request's first node begin after its longest kept prefix; tokens skipped."""
        progress, node, scored_from = unit.progress, unit.node, unit.node.score_from
        # The last token is always computed, for the distribution after it; alternatives are not
        # kept, so where they are asked for nothing scored may be skipped.
        most = len(node.tokens) - 1
        if progress.request.prompt_logprobs:
            most = min(most, scored_from)
        if most < _SHORTEST:
            return 0
        found = self._cache.longest(progress.start_key, node.tokens, most, scored_from)
        if found is None:
            return 0
        size, entry = found
        unit.start, unit.position = entry.state, size
        unit.scores.logprobs[:] = entry.logprobs[:size].tolist()
        unit.scores.tops[:] = [()] * (size if progress.request.prompt_logprobs else 0)
        if scored_from <= size:
            unit.add_scored(self._head_of(entry.state))
        else:
            unit.add_unscored()
        progress.cached_tokens = size
        return size
