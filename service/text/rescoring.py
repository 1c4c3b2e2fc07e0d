"""Combining a recogniser's scores with the language model's, and ranking the result. Pure.

    total = score + sum_k weights[k] * scores[k] + lm_weight * lm + length_bonus * num_words
            + hot_words

`lm` is ln P of the text, or that divided by its length (see `Combination.normalize`), under the
model alone or under its linear mixture with another, word by word. The
log-linear combination of second-pass rescoring: Ostendorf et al. 1991, "Integration of diverse
recognition methodologies through reevaluation of N-best sentence hypotheses".
All scores are natural logarithms, higher is better.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Normalize = Literal["none", "tokens", "words"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination:
    """How the scores of a hypothesis become its total.

    weights: factor of each additional score, by its name.
    normalize: what ln P of the text is divided by before it is weighted: nothing, the number of
        scored tokens, or the number of words; a scored end of sequence counts as one of either,
        as it does in a perplexity.
    """

    lm_weight: float
    length_bonus: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    normalize: Normalize = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """A hypothesis with all that its total is made of.

    lm_logprob: ln P of the text, and of the end of sequence if `eos`.
    num_tokens: tokens in `lm_logprob`, a scored end of sequence included.
    num_words: words of the text, the end of sequence not included.
    mixed_logprob: ln P under a mixture, which then takes the place of `lm_logprob` in the total.
    hot_words: the sum of the weights of the hot words in the text.
    """

    score: float
    scores: Mapping[str, float]
    lm_logprob: float
    num_tokens: int
    num_words: int
    eos: bool
    mixed_logprob: float | None = None
    hot_words: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """Place of a hypothesis in its list. rank: from 1; index: its position in the input."""

    index: int
    rank: int
    total: float
    posterior: float


def check_names(scores: Mapping[str, float], weights: Mapping[str, float]) -> None:
    """Raise ValueError unless every score has a weight and every weight a score.

    A name on one side alone is a misspelling that would otherwise quietly drop a knowledge source.
    """
    if unweighted := sorted(set(scores) - set(weights)):
        raise ValueError(f"no weight is given for the score {unweighted[0]!r}")
    if missing := sorted(set(weights) - set(scores)):
        raise ValueError(f"the score {missing[0]!r}, which has a weight, is missing")


def combine(hypothesis: Scored, combination: Combination) -> float:
    """The total of a hypothesis; ValueError if it is not finite (weights or scores too large)."""
    length = {
        "none": 1,
        "tokens": hypothesis.num_tokens,
        "words": hypothesis.num_words + hypothesis.eos,
    }[combination.normalize]
    # An empty text without end of sequence has ln P = 0 over 0 tokens: it contributes nothing.
    mixed = hypothesis.mixed_logprob
    lm = (hypothesis.lm_logprob if mixed is None else mixed) / max(length, 1)
    terms = [
        hypothesis.score,
        hypothesis.hot_words,
        combination.lm_weight * lm,
        combination.length_bonus * hypothesis.num_words,
    ]
    terms += [weight * hypothesis.scores[name] for name, weight in combination.weights.items()]
    try:
        # Correctly rounded, so that the order of the weights cannot decide a tie.
        total = math.fsum(terms)
    except (OverflowError, ValueError):  # an infinite sum; infinities of both signs
        total = math.nan
    if not math.isfinite(total):
        raise ValueError("the total is not a finite number: the scores or weights are too large")
    return total


def rank(totals: Sequence[float]) -> list[Ranked]:
    """The list's hypotheses, best first; equal totals keep their order of input."""
    probabilities = posteriors(totals)
    order = sorted(range(len(totals)), key=lambda index: -totals[index])
    return [
        Ranked(index=index, rank=place, total=totals[index], posterior=probabilities[index])
        for place, index in enumerate(order, start=1)
    ]


def posteriors(totals: Sequence[float]) -> list[float]:
    """Softmax of the totals: the probability of each hypothesis, given that one of them is right.

    Safe for totals of any size: the best one is subtracted first.
    """
    if not totals:
        return []
    best = max(totals)
    masses = [math.exp(total - best) for total in totals]
    norm = math.fsum(masses)
    return [mass / norm for mass in masses]


def mix(first: float, second: float, share: float) -> float:
    """ln(share * exp(first) + (1 - share) * exp(second)); share in 0..1."""
    if share <= 0.0:
        return second
    if share >= 1.0:
        return first
    a, b = first + math.log(share), second + math.log1p(-share)
    high, low = max(a, b), min(a, b)
    return high if high == -math.inf else high + math.log1p(math.exp(low - high))


def mixed_logprob(own: Sequence[float], other: Sequence[float], share: float) -> float:
    """ln P of a text under the linear mixture of two models, `share` the first one's.

    own, other: ln P of its words, and of its end if that counts. ValueError where they are not of
    equally many.
    """
    if len(own) != len(other):
        raise ValueError(f"{len(other)} word scores where {len(own)} are scored, the end included")
    return math.fsum(mix(a, b, share) for a, b in zip(own, other, strict=True))


def hot_word_score(text: str, hot_words: Mapping[str, float]) -> float:
    """The sum of the weights of the hot words and phrases in a text, each as often as it stands
    there. Whole words; case matters as it does to the model."""
    if not hot_words:
        return 0.0
    padded = f" {' '.join(text.split())} "
    return sum(
        weight * _occurrences(padded, f" {' '.join(phrase.split())} ")
        for phrase, weight in hot_words.items()
    )


def _occurrences(padded: str, phrase: str) -> int:
    """How often a phrase stands in a text; both have a space at either end, which may be shared."""
    if phrase.isspace():
        return 0
    count, at = 0, padded.find(phrase)
    while at >= 0:
        count += 1
        at = padded.find(phrase, at + len(phrase) - 1)
    return count
