"""Hypotheses of an N-best list in and out of the ranking. Pure.

`service.text.rescoring` has the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.text.rescoring import Combination, Scored, check_names, combine, rank


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """A text with the recogniser's score, and further scores by name."""

    text: str
    score: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any] | str) -> Hypothesis:
        """From a text alone, or a mapping with "text" and perhaps "score" and "scores"."""
        if isinstance(given, str):
            return cls(text=given)
        return cls(
            text=given["text"], score=given.get("score") or 0.0, scores=given.get("scores") or {}
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RankedHypothesis:
    """A hypothesis in its place. rank: from 1; index: its position in the list as given."""

    text: str
    index: int
    rank: int
    lm_logprob: float
    num_tokens: int
    num_words: int
    total: float
    posterior: float


def ranked_list(
    hypotheses: Sequence[Hypothesis],
    scores: Sequence[tuple[float, int, bool]],
    combination: Combination,
) -> list[RankedHypothesis]:
    """The list, best first; equal totals keep their order.

    scores: of each hypothesis ln P by the language model, the tokens in it, and whether
    end-of-sequence is one of them. Raises ValueError for scores without a weight and weights
    without a score, and for totals that are not finite.
    """
    rows = []
    for hypothesis, (logprob, num_tokens, eos) in zip(hypotheses, scores, strict=True):
        check_names(hypothesis.scores, combination.weights)
        rows.append(
            Scored(
                score=hypothesis.score,
                scores=hypothesis.scores,
                lm_logprob=logprob,
                num_tokens=num_tokens,
                num_words=len(hypothesis.text.split()),
                eos=eos,
            )
        )
    return [
        RankedHypothesis(
            text=hypotheses[place.index].text,
            index=place.index,
            rank=place.rank,
            lm_logprob=rows[place.index].lm_logprob,
            num_tokens=rows[place.index].num_tokens,
            num_words=rows[place.index].num_words,
            total=place.total,
            posterior=place.posterior,
        )
        for place in rank([combine(row, combination) for row in rows])
    ]
