"""Beam search over continuations of one prompt: pure bookkeeping, the engine supplies numbers.

Beams advance together: each reports its candidates, and when the last one has, the best of all
become the next beams. A beam that draws a stop token is finished. The search ends when as many
finished ones as beams are at least as good as any open beam can become (for length penalties <= 0
and > 0 alike the bound takes the open beam's score at its best length), or at the token limit.
Ranking: sum of ln P / length ** length_penalty (Wu et al. 2016, simplified).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.engine.request import Floats, SamplingParams, TopLogprobs


@dataclass(frozen=True)
class Hypothesis:
    """A continuation: tokens, ln P of each, the alternatives shown with each."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    tops: tuple[TopLogprobs, ...] = ()
    total: float = 0.0

    def score(self, length_penalty: float) -> float:
        return self.total / math.pow(max(len(self.tokens), 1), length_penalty)


@dataclass(frozen=True)
class Candidate:
    """One way to go on: token, its ln P for ranking (after bans), and as the model gave it."""

    token: int
    ranking: float
    logprob: float


@dataclass
class BeamSearch:
    """State of one search. Beams are numbered 0..len(beams)-1 in the current generation."""

    params: SamplingParams
    beams: list[Hypothesis] = field(default_factory=lambda: [Hypothesis()])
    finished: list[Hypothesis] = field(default_factory=list)
    _stops: frozenset[int] = field(init=False)
    _reports: dict[int, tuple[Sequence[Candidate], TopLogprobs, Floats]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self._stops = frozenset(self.params.stop_token_ids)

    @property
    def width(self) -> int:
        assert self.params.beam_width is not None
        return self.params.beam_width

    def report(
        self, beam: int, candidates: Sequence[Candidate], tops: TopLogprobs, state: Floats
    ) -> bool:
        """Take a beam's candidates and its state; True when all have reported.

        candidates: the `width` best, and the `width` best among those that do not stop, best first.
        """
        self._reports[beam] = (candidates, tops, state)
        return len(self._reports) == len(self.beams)

    def advance(self) -> list[Floats]:
        """Choose the next beams; returns the state that each one continues, [] at the end."""
        extended = [
            (-(hypothesis.total + candidate.ranking), index, candidate.token, candidate)
            for index, hypothesis in enumerate(self.beams)
            for candidate in self._reports[index][0]
        ]
        extended.sort(key=lambda item: item[:3])  # ties: earlier beam, lower token id
        beams, parents = list[Hypothesis](), list[Floats]()
        for rank, (_, index, token, candidate) in enumerate(extended):
            if token in self._stops:
                if rank < self.width:
                    self.finished.append(self._longer(index, candidate))
            elif len(beams) < self.width:
                beams.append(self._longer(index, candidate))
                parents.append(self._reports[index][2])
        self.beams, self._reports = beams, {}
        if not self.beams or len(self.beams[0].tokens) >= self.params.max_tokens or self._settled():
            return []
        return parents

    def _longer(self, beam: int, candidate: Candidate) -> Hypothesis:
        hypothesis = self.beams[beam]
        return Hypothesis(
            (*hypothesis.tokens, candidate.token),
            (*hypothesis.logprobs, candidate.logprob),
            (*hypothesis.tops, self._reports[beam][1]),
            hypothesis.total + candidate.ranking,
        )

    def _settled(self) -> bool:
        if len(self.finished) < self.width:
            return False
        penalty, limit = self.params.length_penalty, self.params.max_tokens
        worst = sorted((h.score(penalty) for h in self.finished), reverse=True)[self.width - 1]
        longest = limit if penalty > 0 else len(self.beams[0].tokens)
        return worst >= self.beams[0].total / math.pow(longest, penalty)

    def best(self) -> list[tuple[Hypothesis, bool]]:
        """The n best continuations, each with whether it ended by a stop token."""
        ended = [(h, True) for h in self.finished] + [(h, False) for h in self.beams]
        penalty = self.params.length_penalty
        return sorted(ended, key=lambda item: -item[0].score(penalty))[: self.params.n]
