"""ln P of sentences of words under an n-gram model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.kneser_ney import BOS, EOS, UNK, NGramModel
from models.ngram_scores import logprobs

Floats = NDArray[np.float64]


class NGramScorer:
    """Scores sentences of words, unknown ones as `<unk>`."""

    def __init__(self, model: NGramModel) -> None:
        self.model = model
        self._numbers = {word: number for number, word in enumerate(model.vocabulary)}

    def logprobs(self, sentences: Sequence[Sequence[str]]) -> Floats:
        """ln P of every word and of each sentence's end, one after the other."""
        unknown, numbers = self._numbers[UNK], list[int]()
        for words in sentences:
            numbers.append(self._numbers[BOS])
            numbers += [self._numbers.get(word, unknown) for word in words]
            numbers.append(self._numbers[EOS])
        text = np.array(numbers, np.int64)
        result: Floats = logprobs(self.model.orders, text)[text != self._numbers[BOS]]
        return result
