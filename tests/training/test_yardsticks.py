"""The n-gram model against its own definition, written out with dictionaries."""

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from training.yardsticks import ngram_logprobs, unigram_logprobs

BOS, VOCAB = 2, 6  # not the first piece, as in real tokenizers
WORDS = [0, 1, 3, 4, 5]


def logprobs(train: np.ndarray, ids: np.ndarray, order: int) -> np.ndarray:
    return ngram_logprobs(train, ids, vocab_size=VOCAB, bos_id=BOS, order=order)


def documents(seed: int, tokens: int) -> np.ndarray:
    draw, ids = np.random.default_rng(seed), [BOS]
    while len(ids) < tokens:
        # Not uniform, so that all counts occur; a new document now and then.
        other = WORDS[int(draw.geometric(0.4) % 5)]
        ids.append(BOS if draw.random() < 0.05 and ids[-1] != BOS else other)
    return np.array(ids)


def grams(ids: np.ndarray, n: int) -> Counter[tuple[int, ...]]:
    windows = (tuple(ids[k : k + n].tolist()) for k in range(len(ids) - n + 1))
    return Counter(w for w in windows if BOS not in w[1:])


def by_definition(train: np.ndarray, context: tuple[int, ...], token: int, order: int) -> float:
    """Interpolated modified Kneser-Ney, one probability, without any cleverness."""
    n = len(context) + 1
    counts = grams(train, n)
    if n < order:
        longer = grams(train, n + 1)
        preceded = Counter(w[1:] for w in longer)
        counts = Counter(
            {w: c if n > 1 and w[0] == BOS else preceded[w] for w, c in counts.items()}
        )
    if n == 1:
        counts[(BOS,)] = 0
    of_counts = Counter(counts.values())
    n1, n2, n3, n4 = (of_counts[k] for k in (1, 2, 3, 4))
    if n1 and n2 and n3:
        y = n1 / (n1 + 2 * n2)
        d = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    else:
        d = [0, 0.5, 1.0, 1.5]
    if n1 and n2 and n3 and not all(0 <= d[k] <= k for k in (1, 2, 3)):
        d = [0, 0.5, 1.0, 1.5]
    lower = by_definition(train, context[1:], token, order) if context else 1 / (VOCAB - 1)
    followers = {w: c for w, c in counts.items() if w[:-1] == context}
    total = sum(followers.values())
    if not total:
        return lower
    count = followers.get((*context, token), 0)
    left = sum(d[min(c, 3)] for c in followers.values()) / total
    return (count - d[min(count, 3)]) / total + left * lower


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_probability_is_that_of_the_definition(order: int) -> None:
    train, test = documents(0, 600), documents(1, 60)
    found = logprobs(train, test, order)
    start = 0
    for place, token in enumerate(test.tolist()):
        if token == BOS:
            start = place
            assert math.isnan(found[place])
            continue
        context = tuple(test[max(start, place - order + 1) : place].tolist())
        expected = by_definition(train, context, token, order)
        assert found[place] == pytest.approx(math.log(expected), rel=1e-9)


def test_probabilities_after_any_history_sum_to_one() -> None:
    train = documents(0, 400)
    for history in ([BOS], [BOS, 1], [BOS, 3, 3, 1], [BOS, 5, 5, 5, 5, 0]):
        rows = [logprobs(train, np.array([*history, word]), 4)[-1] for word in WORDS]
        assert np.exp(rows).sum() == pytest.approx(1)


def test_on_text_of_a_markov_chain_the_bigram_is_near_the_entropy() -> None:
    draw = np.random.default_rng(0)
    chain = draw.dirichlet(np.ones(5) / 2, size=6)
    ids = [BOS]
    for _ in range(20000):
        ids.append(WORDS[draw.choice(5, p=chain[ids[-1]])])
    train, test = np.array(ids[:15000]), np.array([BOS, *ids[15001:]])
    losses = -logprobs(train, test, 2)[2:]
    pairs = pairwise(test[1:])
    entropy = np.mean([-math.log(chain[a][WORDS.index(b)]) for a, b in pairs])
    assert losses.mean() == pytest.approx(entropy, rel=0.01)
    assert -unigram_logprobs(train, test, VOCAB)[2:].mean() > losses.mean()


def test_nothing_to_count_is_told() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        logprobs(np.array([], np.int64), np.array([BOS]), 2)
