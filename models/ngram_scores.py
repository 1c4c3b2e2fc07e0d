"""ln P of whole texts under an n-gram model, all places at once.

An n-gram is found as it was counted: by the number of its first n-1 words among those one shorter,
and its last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from models.kneser_ney import Floats, Ints, Order


def logprobs(orders: Sequence[Order], text: Ints) -> Floats:
    """ln P of every number of a text (T,) after those before it in its sentence.

    A sentence starts at every 0, whose own place is NaN. Numbers are below the vocabulary's size.
    """
    vocabulary, place = len(orders[0].probability), np.arange(len(text))
    first = np.maximum.accumulate(np.where(text == 0, place, 0))  # of each place's sentence
    probability = orders[0].probability[text]
    grams = text  # of one order, the n-gram that ends at each place; -1 for none
    for shorter, order in pairwise(orders):
        contexts = np.concatenate([[-1], grams[:-1]])
        contexts[place - (order.length - 1) < first] = -1
        known = contexts >= 0
        grams = np.full(len(text), -1)
        grams[known] = _find(order.keys, contexts[known] * vocabulary + text[known])
        backoff = shorter.backoff[contexts[known]]
        # NaN: nothing was seen after that context.
        probability[known] *= np.where(np.isnan(backoff), 1.0, backoff)
        seen = grams >= 0
        probability[seen] = order.probability[grams[seen]]
    with np.errstate(divide="ignore"):
        result: Floats = np.log(probability)
    result[text == 0] = np.nan
    return result


def _find(keys: Ints, wanted: Ints) -> Ints:
    """Place of each wanted key, -1 for those that are not there."""
    if not len(keys):
        return np.full(len(wanted), -1)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, found, -1)
