"""Word lattices: an acyclic graph of links, each with a word and natural-log scores.

A path from the start to a final node is a hypothesis; the score of a hypothesis is that of its
best path (the same words may have been heard at different times).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from service.asr.hypotheses import LM, MODEL, Hypothesis, NBestList

SILENCE = ""


@dataclass(frozen=True, slots=True)
class Link:
    """From node `start` to node `end`. word: SILENCE for a link that says none.

    lm: of the recogniser's own language model. model: of the one that rescored the lattice.
    """

    start: int
    end: int
    word: str
    acoustic: float
    lm: float
    model: float = 0.0


@dataclass(frozen=True, slots=True)
class Final:
    """What ending at a node adds."""

    acoustic: float = 0.0
    lm: float = 0.0
    model: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Lattice:
    """Nodes are numbered 0..num_nodes-1 in topological order: every link goes upwards.

    links: sorted by their start. times: seconds of the nodes, where known.
    """

    id: str
    num_nodes: int
    start: int
    finals: Mapping[int, Final]
    links: tuple[Link, ...]
    times: Mapping[int, float] = field(default_factory=dict)

    def outgoing(self) -> list[list[Link]]:
        """The links that leave each node."""
        found: list[list[Link]] = [[] for _ in range(self.num_nodes)]
        for link in self.links:
            found[link.start].append(link)
        return found


@dataclass(frozen=True, slots=True)
class PathWeights:
    """Factors of a path's scores.

    total = acoustic + lm * its lm + model * its model + length_bonus for each word
    """

    lm: float = 1.0
    model: float = 0.0
    length_bonus: float = 0.0

    def of(self, link: Link) -> float:
        bonus = self.length_bonus if link.word else 0.0
        return link.acoustic + self.lm * link.lm + self.model * link.model + bonus

    def of_final(self, final: Final) -> float:
        return final.acoustic + self.lm * final.lm + self.model * final.model


def build_lattice(
    *,
    id: str,
    start: int,
    finals: Mapping[int, Final],
    links: list[Link],
    times: Mapping[int, float] | None = None,
) -> Lattice:
    """A lattice of nodes numbered anyhow; those on no path from start to end are left out.

    Raises ValueError for a cycle. Without a whole path the lattice has no link and no final node.
    """
    alive = _reachable(links, {start}) & _reachable(links, set(finals), backwards=True)
    kept = [link for link in links if link.start in alive and link.end in alive]
    order = _topological_order(alive, kept)
    place = {node: index for index, node in enumerate(order)}
    if start not in place:
        return Lattice(id=id, num_nodes=1, start=0, finals={}, links=())
    return Lattice(
        id=id,
        num_nodes=len(order),
        start=place[start],
        finals={place[node]: final for node, final in finals.items() if node in place},
        links=tuple(
            sorted(
                (replace(own, start=place[own.start], end=place[own.end]) for own in kept),
                key=lambda link: link.start,
            )
        ),
        times={place[node]: t for node, t in (times or {}).items() if node in place},
    )


def _reachable(links: list[Link], found: set[int], *, backwards: bool = False) -> set[int]:
    following: dict[int, list[int]] = {}
    for link in links:
        pair = (link.end, link.start) if backwards else (link.start, link.end)
        following.setdefault(pair[0], []).append(pair[1])
    found, waiting = set(found), list(found)
    while waiting:
        for node in following.get(waiting.pop(), ()):
            if node not in found:
                found.add(node)
                waiting.append(node)
    return found


def _topological_order(nodes: set[int], links: list[Link]) -> list[int]:
    """Kahn's algorithm; of the nodes that may come next, the lowest number first."""
    incoming = dict.fromkeys(nodes, 0)
    following: dict[int, list[int]] = {}
    for link in links:
        incoming[link.end] += 1
        following.setdefault(link.start, []).append(link.end)
    ready = [node for node, count in incoming.items() if count == 0]
    heapq.heapify(ready)
    order = []
    while ready:
        order.append(node := heapq.heappop(ready))
        for end in following.get(node, ()):
            incoming[end] -= 1
            if incoming[end] == 0:
                heapq.heappush(ready, end)
    if len(order) != len(nodes):
        raise ValueError("the lattice has a cycle")
    return order


def best_to_end(lattice: Lattice, weights: PathWeights) -> list[float]:
    """For each node, the score of the best path from it to an end; -inf where there is none."""
    best = [float("-inf")] * lattice.num_nodes
    for node, final in lattice.finals.items():
        best[node] = weights.of_final(final)
    for link in reversed(lattice.links):
        best[link.start] = max(best[link.start], weights.of(link) + best[link.end])
    return best


@dataclass(frozen=True, slots=True)
class _Score:
    """Of a path so far: its total, and what that is made of."""

    total: float
    acoustic: float = 0.0
    lm: float = 0.0
    model: float = 0.0


def nbest(lattice: Lattice, size: int, weights: PathWeights) -> NBestList:
    """The `size` best hypotheses with different words, best first; exact.

    A* over word sequences. A sequence stands for every node that it can end at, with its best
    path to each, so that no sequence is found twice; what is left of the best path is the bound.
    Each hypothesis has `score` (acoustic), `scores.lm` and, of a rescored lattice, `scores.model`
    of its best path.
    """
    to_end = best_to_end(lattice, weights)
    outgoing = lattice.outgoing()
    tie = itertools.count()
    ends = _through_silence({lattice.start: _Score(0.0)}, outgoing, weights)
    waiting: list[tuple[float, int, tuple[str, ...], dict[int, _Score] | _Score]] = []

    def push(words: tuple[str, ...], ends: dict[int, _Score]) -> None:
        bound = max(own.total + to_end[node] for node, own in ends.items())
        if bound > float("-inf"):
            heapq.heappush(waiting, (-bound, next(tie), words, ends))

    push((), ends)
    found: list[Hypothesis] = []
    is_rescored = any(link.model for link in lattice.links) or any(
        final.model for final in lattice.finals.values()
    )
    while waiting and len(found) < size:
        _, _, words, ends_or_whole = heapq.heappop(waiting)
        if isinstance(ends_or_whole, _Score):
            found.append(_hypothesis(words, ends_or_whole, is_rescored=is_rescored))
            continue
        if (whole_or_none := _ended(ends_or_whole, lattice, weights)) is not None:
            entry = (-whole_or_none.total, next(tie), words, whole_or_none)
            heapq.heappush(waiting, entry)
        for word, own in _following(ends_or_whole, outgoing, weights).items():
            push((*words, word), _through_silence(own, outgoing, weights))
    return NBestList(id=lattice.id, hypotheses=tuple(found))


def _hypothesis(words: tuple[str, ...], own: _Score, *, is_rescored: bool) -> Hypothesis:
    scores = {LM: own.lm} | ({MODEL: own.model} if is_rescored else {})
    return Hypothesis(text=" ".join(words), score=own.acoustic, scores=scores)


def _ended(ends: Mapping[int, _Score], lattice: Lattice, weights: PathWeights) -> _Score | None:
    """The best way in which a sequence is a whole hypothesis."""
    wholes = [
        _add(own, weights.of_final(final), final)
        for node, own in ends.items()
        if (final := lattice.finals.get(node)) is not None
    ]
    return max(wholes, key=lambda own: own.total, default=None)


def _add(own: _Score, total: float, more: Link | Final) -> _Score:
    return _Score(
        own.total + total,
        own.acoustic + more.acoustic,
        own.lm + more.lm,
        own.model + more.model,
    )


def _step(own: _Score, link: Link, weights: PathWeights) -> _Score:
    return _add(own, weights.of(link), link)


def _improve(ends: dict[int, _Score], node: int, score: _Score) -> bool:
    if node in ends and ends[node].total >= score.total:
        return False
    ends[node] = score
    return True


def _following(
    ends: Mapping[int, _Score], outgoing: list[list[Link]], weights: PathWeights
) -> dict[str, dict[int, _Score]]:
    """By the next word, where it leads."""
    found: dict[str, dict[int, _Score]] = {}
    for node, own in ends.items():
        for link in outgoing[node]:
            if link.word:
                _improve(found.setdefault(link.word, {}), link.end, _step(own, link, weights))
    return found


def _through_silence(
    ends: dict[int, _Score], outgoing: list[list[Link]], weights: PathWeights
) -> dict[int, _Score]:
    """The ends, and those that links without a word lead to; upwards, so each is final once met."""
    waiting = list(ends)
    heapq.heapify(waiting)
    seen = set()
    while waiting:
        node = heapq.heappop(waiting)
        if node in seen:
            continue
        seen.add(node)
        for link in outgoing[node]:
            if not link.word and _improve(ends, link.end, _step(ends[node], link, weights)):
                heapq.heappush(waiting, link.end)
    return ends
