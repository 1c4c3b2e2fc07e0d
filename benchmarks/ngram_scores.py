"""ln P of whole texts under an n-gram model, all places at once.

An n-gram is found as it was counted: by the number of its first n-1 words among those one shorter,
and its last word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.kneser_ney import BOS, EOS, UNK, NGramModel

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class NGramScorer:
    """Scores sentences under a model that nothing was pruned from."""

    def __init__(self, model: NGramModel) -> None:
        self.model = model
        self._numbers = {word: number for number, word in enumerate(model.vocabulary)}
        self._keys: list[Ints] = [np.arange(len(model.vocabulary))]
        for n, order in enumerate(model.orders[1:], 2):
            prefix = order.words[:, 0]
            for k in range(1, n - 1):
                prefix = np.searchsorted(self._keys[k], self._key(prefix, order.words[:, k]))
            keys = self._key(prefix, order.words[:, -1])
            assert (np.diff(keys) > 0).all(), "n-grams in the order that they were counted in"
            self._keys.append(keys)

    def logprobs(self, sentences: Sequence[Sequence[str]]) -> Floats:
        """ln P of every word and of each sentence's end, one after the other."""
        unknown = self._numbers[UNK]
        numbers, starts = list[int](), list[int]()
        for words in sentences:
            starts.append(len(numbers))
            numbers.append(self._numbers[BOS])
            numbers += [self._numbers.get(word, unknown) for word in words]
            numbers.append(self._numbers[EOS])
        text = np.array(numbers, np.int64)
        place = np.arange(len(text))
        first = np.zeros(len(text), np.int64)
        first[starts] = starts
        first = np.maximum.accumulate(first)
        probability = self.model.orders[0].probability[text]
        grams = text  # of one order, the n-gram that ends at each place; -1 for none
        for n in range(2, len(self.model.orders) + 1):
            contexts = np.concatenate([[-1], grams[:-1]])
            contexts[place - (n - 1) < first] = -1
            grams = self._find(n, contexts, text)
            shorter, order = self.model.orders[n - 2], self.model.orders[n - 1]
            known, seen = contexts >= 0, grams >= 0
            backoff = shorter.backoff[contexts[known]]
            # NaN: nothing was seen after that context.
            probability[known] *= np.where(np.isnan(backoff), 1.0, backoff)
            probability[seen] = order.probability[grams[seen]]
        result: Floats = np.log(probability[place != first])
        return result

    def _key(self, prefix: Ints, word: Ints) -> Ints:
        return prefix * len(self.model.vocabulary) + word

    def _find(self, n: int, contexts: Ints, words: Ints) -> Ints:
        """Number of the n-gram of each context and word, -1 where it was not seen."""
        keys, wanted = self._keys[n - 1], self._key(contexts, words)
        if not len(keys):
            return np.full(len(words), -1)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((contexts >= 0) & (keys[found] == wanted), found, -1)
