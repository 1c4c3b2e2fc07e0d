"""N-best lists as every format is read into, and written from.

All scores are natural logarithms, higher is better; the formats convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

LM = "lm"  # the name under which the recogniser's own language model's score is kept
MODEL = "model"  # and that of the model which rescored the list


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """What may have been said.

    text: words separated by single spaces, as the recogniser wrote them.
    score: the recogniser's acoustic score, or its composite where the format has no other;
        None where the file has none at all.
    scores: further scores by name, `lm` the recogniser's own language model's, unweighted.
    word_scores: by name, ln P of each word and then, as one more entry, of the sentence end.
    extra: what else the file said; comes back where the written format has room for it.
    """

    text: str
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    word_scores: Mapping[str, Sequence[float]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        return self.text.split()


@dataclass(frozen=True, kw_only=True, slots=True)
class NBestList:
    """An utterance: its hypotheses, the recogniser's best first, perhaps none.

    reference: what was said, where the file tells. speaker: whose lists are not independent.
    """

    id: str
    hypotheses: tuple[Hypothesis, ...]
    reference: str | None = None
    speaker: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def reordered(
        self,
        order: Sequence[int],
        totals: Sequence[float],
        told: Sequence[Mapping[str, float]],
    ) -> NBestList:
        """The hypotheses that `order` names, in that order, with their totals and what else is
        told of each (both by the old order) among their extra fields."""
        return replace(
            self,
            hypotheses=tuple(
                replace(own, extra={**own.extra, **told[index], "total": totals[index]})
                for index in order
                for own in [self.hypotheses[index]]
            ),
        )
