"""Scores against the rule of back-off, one word at a time from a dictionary."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.ngram_scores import NGramScorer
from models.kneser_ney import BOS, EOS, UNK, NGramModel, estimate

SENTENCES = st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=12)
Table = dict[tuple[str, ...], tuple[float, float]]


def table(model: NGramModel) -> Table:
    names = model.vocabulary
    return {
        tuple(names[word] for word in words): (float(p), 1.0 if math.isnan(b) else float(b))
        for order in model.orders
        for words, p, b in zip(order.words, order.probability, order.backoff, strict=True)
    }


def by_back_off(known: Table, context: tuple[str, ...], word: str) -> float:
    if (*context, word) in known:
        return known[*context, word][0]
    if not context:
        return known[(UNK,)][0]
    return known.get(context, (0.0, 1.0))[1] * by_back_off(known, context[1:], word)


@example([[], [], [], ["b", "a", "a", "b", "a"]], [["b"]])  # estimates a discount of 0
@given(SENTENCES, st.lists(st.lists(st.sampled_from("abcd"), max_size=6), min_size=1, max_size=5))
def test_scores_are_those_of_back_off(train: list[list[str]], test: list[list[str]]) -> None:
    model = estimate(train, 4)
    known, expected = table(model), []
    for sentence in test:
        words = [BOS, *(w if (w,) in known else UNK for w in sentence), EOS]
        for k in range(1, len(words)):
            context = tuple(words[max(0, k - 3) : k])
            expected.append(math.log(by_back_off(known, context, words[k])))
    found = NGramScorer(model).logprobs(test)
    assert found == pytest.approx(expected, rel=1e-9)


def test_what_may_follow_adds_up_to_one() -> None:
    draw = np.random.default_rng(0)
    train = [[str(w) for w in draw.geometric(0.4, 7)] for _ in range(200)]
    model = estimate(train)
    words = [w for w in model.vocabulary if w not in (BOS, EOS)]
    scorer = NGramScorer(model)
    context = ["1", "2", "1", "1"]
    each = [math.exp(scorer.logprobs([[*context, word]])[len(context)]) for word in words]
    end = math.exp(scorer.logprobs([context])[-1])
    assert sum(each) + end == pytest.approx(1, abs=1e-9)
