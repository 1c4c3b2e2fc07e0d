"""The yardstick of every report: an interpolated n-gram model with modified Kneser-Ney smoothing
(Chen & Goodman 1998) over the very pieces that the network predicts.

KenLM's wheel can query such a model but not estimate one, and its estimator needs a C++ build with
Boost; another tokenisation would make the comparison unfair. So it is estimated here, by sorting:
an n-gram is known by its number among the distinct ones of its order, built from that of its first
n - 1 tokens and its last token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Doubles = NDArray[np.float64]
_NONE = -1  # no n-gram ends here, or none that was seen


@dataclass(frozen=True)
class _Order:
    """The distinct n-grams of one order, sorted.

    keys: context * V + last token, (G,). shares: (count - discount) / (sum over the context), (G,).
    left: of every context, (C,), the mass that goes to the lower order; 1 where it was not seen.
    """

    keys: Ids
    shares: Doubles
    left: Doubles


class KneserNey:
    """P(token | the order - 1 tokens before it). `train` reads documents that start with `bos`;
    no n-gram reaches over the start of a document."""

    def __init__(self, ids: NDArray[Any], *, vocab_size: int, bos_id: int, order: int = 5) -> None:
        """ids: (T,) documents one after the other. ValueError where there are none."""
        if not len(ids):
            raise ValueError("an n-gram model needs at least one token")
        self.vocab_size, self.bos_id, self.order = vocab_size, bos_id, order
        grams = [ids.astype(np.int64)]
        keys, firsts = [np.arange(vocab_size)], [np.arange(vocab_size)]  # of order 1: the tokens
        raw = [np.bincount(grams[0], minlength=vocab_size)]
        for _ in range(1, order):
            found = self._keys(grams[-1], grams[0])
            there = np.flatnonzero(found != _NONE)
            unique, first, inverse, counts = np.unique(
                found[there], return_index=True, return_inverse=True, return_counts=True
            )
            numbers = np.full(len(found), _NONE)
            numbers[there] = inverse
            grams.append(numbers)
            keys.append(unique)
            firsts.append(there[first])
            raw.append(counts)
        self._orders = [
            self._estimate(n, keys, self._adjusted(n, raw, grams, firsts, keys))
            for n in range(order)
        ]

    def _keys(self, contexts: Ids, tokens: Ids) -> Ids:
        """Keys of the n-grams that end at each place, from the (n - 1)-grams."""
        keys = np.full(len(tokens), _NONE)
        before = contexts[:-1]
        fits = (before != _NONE) & (tokens[1:] != self.bos_id)
        keys[1:][fits] = before[fits] * self.vocab_size + tokens[1:][fits]
        return keys

    def _adjusted(
        self, n: int, raw: list[Ids], grams: list[Ids], firsts: list[Ids], keys: list[Ids]
    ) -> Ids:
        """Counts of order n + 1: as they are at the top and at the start of a document, else the
        number of different tokens that were seen before."""
        if n == self.order - 1:
            return raw[n]
        suffixes = grams[n][firsts[n + 1]]
        counts = np.bincount(suffixes, minlength=len(keys[n]))
        if n == 0:
            counts[self.bos_id] = 0  # given, never predicted
            return counts
        # What starts a document has nothing before it to count.
        return np.where(counts == 0, raw[n], counts)

    def _estimate(self, n: int, keys: list[Ids], counts: Ids) -> _Order:
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        contexts = keys[n] // self.vocab_size if n else np.zeros(len(keys[0]), np.int64)
        size = len(keys[n - 1]) if n else 1
        sums = np.bincount(contexts, weights=counts, minlength=size)
        kept = np.bincount(contexts, weights=discounts, minlength=size)
        seen = sums > 0
        left = np.divide(kept, sums, out=np.ones(size), where=seen)
        total = np.where(seen, sums, 1)[contexts]
        return _Order(keys[n], (counts - discounts) / total, left)

    def logprobs(self, ids: NDArray[Any]) -> Doubles:
        """ln P of each token of documents (T,) given those before it; NaN for `bos`."""
        tokens = ids.astype(np.int64)
        probability = np.full(len(tokens), 1 / self.vocab_size)
        contexts = np.zeros(len(tokens), np.int64)  # number of the context, by order
        grams = tokens
        for n, order in enumerate(self._orders):
            if n:
                contexts = np.concatenate([[_NONE], grams[:-1]])
                contexts[tokens == self.bos_id] = _NONE
            known = contexts != _NONE
            keys = np.where(known, contexts * self.vocab_size + tokens, _NONE) if n else tokens
            place = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            hit = order.keys[place] == keys
            left = np.where(known, order.left[np.where(known, contexts, 0)], 1.0)
            probability = np.where(hit, order.shares[place], 0.0) + left * probability
            grams = np.where(hit, place, _NONE)
        result: Doubles = np.log(probability)
        result[tokens == self.bos_id] = np.nan
        return result


def _discounts(counts: Ids) -> Doubles:
    """D(0), D(1), D(2), D(3 and more) of Chen & Goodman; theirs for tiny texts where they fail."""
    n1, n2, n3, n4 = (float((counts == k).sum()) for k in (1, 2, 3, 4))
    if min(n1, n2, n3) > 0:
        y = n1 / (n1 + 2 * n2)
        found = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (found[1:] >= 0).all() and (found[1:] <= [1, 2, 3]).all():
            return found
    return np.array([0, 0.5, 1.0, 1.5])


def unigram_logprobs(train: NDArray[Any], ids: NDArray[Any], vocab_size: int) -> Doubles:
    """ln of each token's share of `train`, one added to every count."""
    counts = np.bincount(train.astype(np.int64), minlength=vocab_size) + 1.0
    result: Doubles = np.log(counts / counts.sum())[ids.astype(np.int64)]
    return result
