"""What a model must be better than: n-grams over the very pieces that it predicts.

Another tokenisation would make the comparison unfair, and KenLM's wheel can query a model but not
estimate one (its estimator needs a C++ build with Boost): hence `models.kneser_ney`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.kneser_ney import estimate_numbers
from models.ngram_scores import logprobs

Doubles = NDArray[np.float64]


def ngram_logprobs(
    train: NDArray[Any], ids: NDArray[Any], *, vocab_size: int, bos_id: int, order: int
) -> Doubles:
    """ln P of documents' ids (T,), each begun by `bos_id`, whose own place is NaN."""

    def numbered(pieces: NDArray[Any]) -> NDArray[np.int64]:
        """The pieces with 0 for the one that starts a document, as the estimate has it."""
        swap = np.arange(vocab_size)
        swap[[0, bos_id]] = [bos_id, 0]
        numbers: NDArray[np.int64] = swap[pieces.astype(np.int64)]
        return numbers

    return logprobs(estimate_numbers(numbered(train), vocab_size, order), numbered(ids))


def unigram_logprobs(train: NDArray[Any], ids: NDArray[Any], vocab_size: int) -> Doubles:
    """ln of each token's share of `train`, one added to every count."""
    counts = np.bincount(train.astype(np.int64), minlength=vocab_size) + 1.0
    result: Doubles = np.log(counts / counts.sum())[ids.astype(np.int64)]
    return result
