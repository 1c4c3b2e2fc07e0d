"""What the engine keeps for later requests, and how they begin after it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from service.engine.prefix_tree import Node
from service.engine.request import Floats
from service.engine.state_cache import StateCache
from service.engine.units import NodeUnit, Progress, SampleUnit

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
