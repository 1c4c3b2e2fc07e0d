"""Beam search over continuations of one prompt: pure bookkeeping, the engine supplies numbers.

Beams advance together: each reports its candidates, and when the last one has, the best of all
become the next beams. A beam that draws a stop token is finished. The search ends when as many
finished ones as beams are at least as good as any open beam can become (for length penalties <= 0
and > 0 alike the bound takes the open beam's score at its best length), or at the token limit.
Ranking: sum of ln P / length ** length_penalty (Wu et al. 2016, simplified).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.engine.beam_candidates import BeamCandidates
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


@dataclass
class BeamSearch:
    """State of one search. Beams are numbered 0..len(beams)-1 in the current generation."""

    params: SamplingParams
    beams: list[Hypothesis] = field(default_factory=lambda: [Hypothesis()])
    finished: list[Hypothesis] = field(default_factory=list)
    _reports: dict[int, tuple[BeamCandidates, TopLogprobs, Floats]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        assert self.params.beam_width is not None
        return self.params.beam_width

    def report(
        self, beam: int, candidates: BeamCandidates, tops: TopLogprobs, state: Floats
    ) -> bool:
        """Take a beam's candidates and its state; True when all have reported.

        candidates: the `width` best, and the `width` best among those that do not stop.
        """
        self._reports[beam] = (candidates, tops, state)
        return len(self._reports) == len(self.beams)

    def advance(self) -> list[Floats]:
        """Choose the next beams; returns the state that each one continues, [] at the end."""
        of_beam = [self._reports[index][0] for index in range(len(self.beams))]
        ids = np.concatenate([own.ids for own in of_beam])
        logprobs = np.concatenate([own.logprobs for own in of_beam])
        parents = np.repeat(np.arange(len(of_beam)), [len(own.ids) for own in of_beam])
        totals = np.concatenate(
            [beam.total + own.rankings for beam, own in zip(self.beams, of_beam, strict=True)]
        )
        stopping = np.isin(ids, self.params.stop_token_ids)
        beams, states = list[Hypothesis](), list[Floats]()
        for rank, place in enumerate(self._best_first(ids, parents, totals, stopping)):
            if stopping[place] and rank >= self.width:
                continue
            index = int(parents[place])
            longer = self._longer(index, int(ids[place]), logprobs[place], totals[place])
            if stopping[place]:
                self.finished.append(longer)
            elif len(beams) < self.width:
                beams.append(longer)
                states.append(self._reports[index][2])
        self.beams, self._reports = beams, {}
        if not self.beams or len(self.beams[0].tokens) >= self.params.max_tokens or self._settled():
            return []
        return states

    def _best_first(
        self,
        ids: NDArray[np.int64],
        parents: NDArray[np.int64],
        totals: NDArray[np.float64],
        stopping: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Places of those that may be chosen, best first; ties: earlier beam, lower token id."""
        going_on, places = totals[~stopping], np.arange(len(ids))
        if len(going_on) > self.width:
            # None that ranks behind as many that go on as there are beams is chosen.
            places = np.flatnonzero(totals >= np.partition(going_on, -self.width)[-self.width])
        order = np.lexsort((ids[places], parents[places], -totals[places]))
        best: NDArray[np.int64] = places[order]
        return best

    def _longer(self, beam: int, token: int, logprob: float, total: float) -> Hypothesis:
        hypothesis = self.beams[beam]
        return Hypothesis(
            (*hypothesis.tokens, token),
            (*hypothesis.logprobs, float(logprob)),
            (*hypothesis.tops, self._reports[beam][1]),
            float(total),
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
