"""Lattices scored by a model with long memory, states merged by an n-gram approximation.

Paths that meet at a node with the same last n-1 words are one from there on: the best of them so
far lends its state to all (Liu et al. 2014, "Efficient lattice rescoring using recurrent neural
network language models"; Kaldi's pruned rescoring, Xu et al. 2018). Without merging it is the full
expansion, exact and exponential. Every step takes the frontiers of many lattices in one call to the
model; words that follow the same words are computed once, at however many times they were heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from service.asr.lattice import Final, Lattice, Link, PathWeights, best_to_end, build_lattice
from service.asr.word_model import WordModel


@dataclass(frozen=True, kw_only=True, slots=True)
class RescoringOptions:
    """How a lattice is expanded.

    merge: n of the n-gram approximation; None merges only equal histories.
    beam: a state this much worse than the best path is dropped; compared by the total so far and
        the old scores from there on. None keeps all.
    max_states: the most states kept at a node, the best ones; None keeps all.
    weights: how totals are made, the model's factor included.
    lattices: how many are expanded side by side.
    """

    merge: int | None = 4
    beam: float | None = None
    max_states: int | None = 64
    weights: PathWeights = field(default_factory=lambda: PathWeights(lm=0.0, model=1.0))
    lattices: int = 16


@dataclass(eq=False, slots=True)
class _Prefix:
    """Words said so far: the model's state after them, what was computed behind it."""

    state: Any
    words: tuple[str, ...]
    following: dict[str, tuple[float, _Prefix]] = field(default_factory=dict)
    end: float | None = None


@dataclass(slots=True)
class _Token:
    """A state of the expanded lattice. total: of the best path to it; prefix: that path's words."""

    number: int
    total: float
    prefix: _Prefix


class _Expansion:
    """One lattice on its way: nodes level by level, so that a node's tokens are whole when met."""

    def __init__(self, lattice: Lattice, root: _Prefix, options: RescoringOptions) -> None:
        self._lattice, self._options = lattice, options
        self._outgoing = lattice.outgoing()
        self._to_end = best_to_end(lattice, _old_weights(options.weights))
        self._nodes_by_level = _levels(lattice)
        self._tokens: list[dict[tuple[str, ...], _Token]] = [{} for _ in range(lattice.num_nodes)]
        self._tokens[lattice.start][()] = _Token(0, 0.0, root)
        self._places = [lattice.start]
        self._links: list[Link] = []
        self._finals: dict[int, Final] = {}
        self._level = 0
        self._best_whole = float("-inf")

    @property
    def is_done(self) -> bool:
        return self._level >= len(self._nodes_by_level)

    def wanted(self) -> Iterator[tuple[_Prefix, str | None]]:
        """What this level needs of the model: a word after a prefix; None for its end."""
        best = self._best_bound()
        for node in self._nodes_by_level[self._level]:
            self._tokens[node] = self._kept(node, best)
            words = {link.word for link in self._outgoing[node] if link.word}
            for token in self._tokens[node].values():
                prefix = token.prefix
                yield from ((prefix, word) for word in words if word not in prefix.following)
                if node in self._lattice.finals and prefix.end is None:
                    yield prefix, None

    def _best_bound(self) -> float:
        return max(
            (
                token.total + self._to_end[node]
                for node in self._nodes_by_level[self._level]
                for token in self._tokens[node].values()
            ),
            default=float("-inf"),
        )

    def _kept(self, node: int, best: float) -> dict[tuple[str, ...], _Token]:
        """The node's tokens that beam and number allow."""
        own, options = self._tokens[node], self._options
        if options.beam is not None:
            floor = max(best, self._best_whole) - options.beam
            own = {k: t for k, t in own.items() if t.total + self._to_end[node] >= floor}
        if options.max_states is not None and len(own) > options.max_states:
            ranked = sorted(own.items(), key=lambda item: -item[1].total)
            own = dict(ranked[: options.max_states])
        return own

    def extend(self) -> None:
        """Follow the level's links; everything wanted has been computed."""
        for node in self._nodes_by_level[self._level]:
            for token in self._tokens[node].values():
                self._end(node, token)
                for link in self._outgoing[node]:
                    self._follow(token, link)
        self._level += 1

    def _end(self, node: int, token: _Token) -> None:
        if (final := self._lattice.finals.get(node)) is None:
            return
        assert token.prefix.end is not None
        ended = Final(final.acoustic, final.lm, token.prefix.end)
        self._finals[token.number] = ended
        whole = token.total + self._options.weights.of_final(ended)
        self._best_whole = max(self._best_whole, whole)

    def _follow(self, token: _Token, link: Link) -> None:
        score, prefix = token.prefix.following[link.word] if link.word else (0.0, token.prefix)
        scored = Link(token.number, -1, link.word, link.acoustic, link.lm, score)
        total = token.total + self._options.weights.of(scored)
        key = self._history(prefix.words)
        tokens = self._tokens[link.end]
        if (there := tokens.get(key)) is None:
            there = tokens[key] = _Token(len(self._places), total, prefix)
            self._places.append(link.end)
        elif total > there.total:
            there.total, there.prefix = total, prefix
        self._links.append(
            Link(token.number, there.number, link.word, link.acoustic, link.lm, score)
        )

    def _history(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """What two paths must have in common to be merged at a node."""
        merge = self._options.merge
        return words if merge is None else words[max(0, len(words) - merge + 1) :]

    def result(self) -> Lattice:
        """The expanded lattice, pruned paths left out."""
        times = self._lattice.times
        return build_lattice(
            id=self._lattice.id,
            start=0,
            finals=self._finals,
            links=self._links,
            times={n: times[place] for n, place in enumerate(self._places) if place in times},
        )


def _old_weights(weights: PathWeights) -> PathWeights:
    """What stands for the rest of a path that the model has not seen: the old scores, which get
    the model's weight too."""
    return PathWeights(lm=weights.lm + weights.model, length_bonus=weights.length_bonus)


def _levels(lattice: Lattice) -> list[list[int]]:
    """The nodes by the longest way to them from the start."""
    level = [0] * lattice.num_nodes
    for link in lattice.links:
        level[link.end] = max(level[link.end], level[link.start] + 1)
    found: list[list[int]] = [[] for _ in range(max(level) + 1)]
    for node, own in enumerate(level):
        found[own].append(node)
    return found


def rescore_lattices(
    lattices: Iterable[Lattice], model: WordModel, options: RescoringOptions
) -> Iterator[Lattice]:
    """The lattices in their order, expanded, each link with the model's score in `model`.

    Paths that were merged share what the model says after the merger: their score is that of the
    best path's history.
    """
    waiting = iter(lattices)
    while block := list(islice(waiting, options.lattices)):
        root = _Prefix(model.start(), ())
        expansions = [_Expansion(own, root, options) for own in block]
        while going := [own for own in expansions if not own.is_done]:
            wanted: dict[tuple[int, str | None], tuple[_Prefix, str | None]] = {}
            for own in going:
                wanted |= {(id(prefix), word): (prefix, word) for prefix, word in own.wanted()}
            _compute(model, list(wanted.values()))
            for own in going:
                own.extend()
        yield from (own.result() for own in expansions)


def _compute(model: WordModel, wanted: Sequence[tuple[_Prefix, str | None]]) -> None:
    """Fill in what is wanted, in one call for the words and one for the ends."""
    pairs = [(prefix, word) for prefix, word in wanted if word is not None]
    if pairs:
        scores, states = model.advance([own.state for own, _ in pairs], [word for _, word in pairs])
        for (prefix, word), score, state in zip(pairs, scores, states, strict=True):
            prefix.following[word] = score, _Prefix(state, (*prefix.words, word))
    ends = [prefix for prefix, word in wanted if word is None]
    if ends:
        for prefix, score in zip(ends, model.end([own.state for own in ends]), strict=True):
            prefix.end = score


def replace_lm(lattice: Lattice) -> Lattice:
    """The model's scores in place of the old language model's."""
    return Lattice(
        id=lattice.id,
        num_nodes=lattice.num_nodes,
        start=lattice.start,
        finals={node: Final(own.acoustic, own.model) for node, own in lattice.finals.items()},
        links=tuple(
            Link(own.start, own.end, own.word, own.acoustic, own.model) for own in lattice.links
        ),
        times=lattice.times,
    )
