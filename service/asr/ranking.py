"""Scored lists put in order by the totals that settings make of their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping

from service.asr.hypotheses import MODEL, Hypothesis, NBestList
from service.asr.settings import RescoringSettings
from service.asr.tuning_data import NGRAM
from service.text.rescoring import Combination, Scored, combine, hot_word_score, mixed_logprob, rank


class Ranker:
    """Ranks lists whose hypotheses have word scores under `model`, perhaps under `ngram`."""

    def __init__(
        self, settings: RescoringSettings, hot_words: Mapping[str, float] | None = None
    ) -> None:
        self._settings, self._hot_words = settings, hot_words or {}
        self._combination = Combination(
            lm_weight=settings.lm_weight,
            length_bonus=settings.length_bonus,
            weights=settings.weights,
        )

    def rank(self, nbest: NBestList) -> NBestList:
        """Best first. Each hypothesis gets its total, and the language model scores in it.

        ValueError names the list, and a score without a weight, a weight without score, or a
        hypothesis without the recogniser's score where others have it.
        """
        try:
            _check_scores(nbest)
            own = [self._scored(hypothesis) for hypothesis in nbest.hypotheses]
            totals = [combine(scored, self._combination) for scored in own]
        except ValueError as error:
            raise ValueError(f"list {nbest.id!r}: {error}") from None
        order = [place.index for place in rank(totals)]
        told = [self._told(scored) for scored in own]
        return nbest.reordered(order, totals, told)

    def _told(self, scored: Scored) -> dict[str, float]:
        told = {"lm_logprob": scored.lm_logprob}
        if scored.mixed_logprob is not None:
            told["mixed_logprob"] = scored.mixed_logprob
        if self._hot_words:
            told["hot_words"] = scored.hot_words
        return told

    def _scored(self, hypothesis: Hypothesis) -> Scored:
        return Scored(
            score=hypothesis.score or 0.0,
            scores=self._scores(hypothesis),
            lm_logprob=math.fsum(hypothesis.word_scores.get(MODEL, ())),
            num_tokens=1,
            num_words=len(hypothesis.words),
            eos=True,
            mixed_logprob=self._mixed(hypothesis),
            hot_words=hot_word_score(hypothesis.text, self._hot_words),
        )

    def _scores(self, hypothesis: Hypothesis) -> dict[str, float]:
        """What the weights weigh; a score that has none is refused, except those of our models."""
        scores = dict(hypothesis.scores)
        for name, own in hypothesis.word_scores.items():
            if name != MODEL and name in self._settings.weights:
                scores.setdefault(name, math.fsum(own))
        if missing := sorted(set(self._settings.weights) - set(scores)):
            hint = "; give --ngram" if missing[0] == NGRAM else ""
            raise ValueError(f"the score {missing[0]!r}, which has a weight, is missing{hint}")
        if unweighted := sorted(set(scores) - set(self._settings.weights)):
            raise ValueError(
                f"no weight is given for the score {unweighted[0]!r} (0 leaves it out)"
            )
        return scores

    def _mixed(self, hypothesis: Hypothesis) -> float | None:
        """ln P under the mixture, if there is one."""
        mixture = self._settings.mixture
        if mixture is None:
            return None
        other = hypothesis.word_scores.get(mixture.with_)
        if other is None:
            hint = "give --ngram" if mixture.with_ == NGRAM else "the list has to bring them"
            raise ValueError(
                f"the word scores {mixture.with_!r} of the mixture are missing; {hint}"
            )
        own = hypothesis.word_scores.get(MODEL, ())
        return mixed_logprob(own, other, mixture.share)


def _check_scores(nbest: NBestList) -> None:
    """All hypotheses have the recogniser's score, or none: 0 for one of them would win the list."""
    without = [h.score is None for h in nbest.hypotheses]
    if any(without) and not all(without):
        place = without.index(True) + 1
        raise ValueError(f"hypothesis {place} has no score, while others of the list have one")
