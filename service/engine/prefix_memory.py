"""What the engine keeps in the state cache for later requests, and how those begin after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from service.engine.prefix_tree import Node
from service.engine.progress import RequestProgress
from service.engine.request import Floats
from service.engine.state_cache import CachedPrefix, Found, StateCache

if TYPE_CHECKING:
    from service.engine.sequences import SampleSequence

_SHORTEST = 2  # a shorter prefix is computed as fast as it is found


class PrefixMemory:
    """The state cache, as sequences use it.

    head_of: distribution (V,) after a state that is in no row.
    """

    def __init__(self, cache: StateCache, head_of: Callable[[Floats], Floats]) -> None:
        self._cache, self.head_of = cache, head_of

    def keep_node(self, progress: RequestProgress, node: Node, state: Floats) -> None:
        """Keep the state at the end of a node, if others may come by: no sequences part before it,
        or several continuations of this request begin there."""
        if node.end < _SHORTEST or not (node.is_trunk or progress.is_continued_often(node)):
            return
        parent = node.parent
        after = None if parent is None else self._alive(progress.kept.get(parent))
        if after is not None:
            tokens: Sequence[int] = node.tokens
            logprobs = progress.scores[node].logprobs
        else:
            tokens, logprobs = progress.path_tokens(node), progress.path_logprobs(node)
        kept = self._cache.put(progress.start_key, tokens, state, logprobs, after)
        if kept is not None:
            progress.kept[node] = kept

    def keep_sample(
        self, sequence: SampleSequence, state: Floats, fed: int, *, is_last: bool
    ) -> None:
        """Keep the state that a continuation has after `fed` of its tokens.

        Before its end only where that takes no longer than its newest tokens do.
        """
        progress = sequence.progress
        leaf = progress.tree.leaves[sequence.prompt]
        after, begin = self._alive(sequence.kept), sequence.num_kept
        if after is None:
            after, begin = self._alive(progress.kept.get(leaf)), 0
        tokens: Sequence[int] = sequence.generated[begin:fed]
        logprobs: Sequence[float] = sequence.logprobs[begin:fed]
        if not tokens:
            return
        if after is None:
            if not is_last:
                return
            tokens = [*progress.request.prompts[sequence.prompt], *tokens]
            logprobs = [*progress.path_logprobs(leaf), *logprobs]
        kept = self._cache.put(progress.start_key, tokens, state, logprobs, after)
        sequence.kept, sequence.num_kept = kept, fed

    def find(self, progress: RequestProgress, node: Node) -> Found | None:
        """The longest kept prefix of a request's first node that the node can begin after.

        The last token is always computed, for the distribution after it; alternatives are not
        kept, so where they are asked for nothing scored may be skipped.
        """
        most = len(node.tokens) - 1
        if progress.request.prompt_logprobs:
            most = min(most, node.score_from)
        if most < _SHORTEST:
            return None
        return self._cache.longest(progress.start_key, node.tokens, most, node.score_from)

    @staticmethod
    def _alive(place: CachedPrefix | None) -> CachedPrefix | None:
        return place if place is not None and place.is_kept else None
