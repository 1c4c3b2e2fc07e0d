"""N-grams with interpolated modified Kneser-Ney smoothing, of words or of any numbers.

Chen and Goodman 1998, "An empirical study of smoothing techniques for language modeling", with the
estimates and the treatment of `<s>` and `<unk>` of lmplz (Heafield et al. 2013): lower orders count
the different words before an n-gram, n-grams at a sentence's start keep their counts, each order
has three discounts, unigrams are interpolated with the uniform distribution, of which `<unk>` has a
word's share. Counting is sorting: an n-gram's number is made of its first n-1 words' number and its
last word, so that no order needs more than arrays as long as the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

BOS, EOS, UNK = "<s>", "</s>", "<unk>"
_RESERVED = (BOS, EOS, UNK)
_FALLBACK = np.array([0.0, 0.5, 1.0, 1.5])  # lmplz's --discount_fallback


@dataclass(frozen=True, eq=False)
class Order:
    """The n-grams of one order, sorted.

    keys: (G,) each one's first n-1 words' place among the n-grams one shorter, times the size of
    the vocabulary, plus its last word. probability: (G,). backoff: (G,), what a longer n-gram's
    missing word is multiplied by; NaN where nothing follows. text, first: where each stands, (G,).
    """

    length: int
    keys: Ints
    probability: Floats
    backoff: Floats
    text: Ints
    first: Ints

    @property
    def words(self) -> Ints:
        """(G, n) word numbers."""
        if self.length == 1:  # words that stand nowhere are among them
            return self.keys[:, None]
        found: Ints = self.text[self.first[:, None] + np.arange(self.length)]
        return found


@dataclass(frozen=True, eq=False)
class NGramModel:
    """An n-gram model. vocabulary: word by number, `<s>`, `</s>` and `<unk>` first."""

    vocabulary: Sequence[str]
    orders: Sequence[Order]

    def write_arpa(self, file: IO[str]) -> None:
        """In the form that SRILM, KenLM and PocketSphinx read: base 10."""
        file.write("\\data\\\n")
        for n, order in enumerate(self.orders, 1):
            file.write(f"ngram {n}={len(order.words)}\n")
        for n, order in enumerate(self.orders, 1):
            file.write(f"\n\\{n}-grams:\n")
            file.writelines(self._lines(order))
        file.write("\n\\end\\\n")

    def _lines(self, order: Order) -> Iterator[str]:
        with np.errstate(divide="ignore"):
            probabilities = np.maximum(np.log10(order.probability), -99.0).tolist()
            backoffs = np.maximum(np.log10(order.backoff), -99.0).tolist()
        names = self.vocabulary
        for words, p, b in zip(order.words.tolist(), probabilities, backoffs, strict=True):
            spelled = " ".join([names[word] for word in words])
            yield f"{p:.6f}\t{spelled}\n" if math.isnan(b) else f"{p:.6f}\t{spelled}\t{b:.6f}\n"


def estimate(
    sentences: Iterable[Sequence[str]], order: int = 5, *, prune: Sequence[int] = ()
) -> NGramModel:
    """A model of sentences of words.

    prune: by order from 1, counts up to which n-grams are left out, as lmplz's --prune; orders
    beyond its end take its last one. Words are never left out. ValueError for no text, and for a
    reserved word in it.
    """
    if order < 2:
        raise ValueError(f"an n-gram model is of order 2 at least, not {order}")
    vocabulary, text = _number(sentences)
    return NGramModel(vocabulary, estimate_numbers(text, len(vocabulary), order, prune=prune))


def estimate_numbers(
    text: Ints, vocabulary: int, order: int = 5, *, prune: Sequence[int] = ()
) -> list[Order]:
    """The orders of a model of numbers (T,) below `vocabulary`; a sentence starts at every 0.

    What starts a sentence is never predicted. ValueError for no text.
    """
    if not len(text):
        raise ValueError("an n-gram model needs at least one word")
    levels = [_unigrams(text, vocabulary)]
    sentence = np.cumsum(text == 0)
    for n in range(2, order + 1):
        levels.append(_longer(levels[-1], text, sentence, n, vocabulary))
    thresholds = [0] + [_threshold(prune, n) for n in range(2, order + 1)]
    return _smooth(levels, thresholds, text, vocabulary)


@dataclass(frozen=True, eq=False)
class _Level:
    """Different n-grams: (G,) a place where each stands, how often it was seen, and the numbers of
    its first n-1 and last n-1 words among the n-grams one shorter. number: (T,) the n-gram that
    starts at each place of the text, -1 where a sentence ends too soon."""

    first: Ints
    number: Ints
    count: Ints
    prefix: Ints
    suffix: Ints


def _number(sentences: Iterable[Sequence[str]]) -> tuple[list[str], Ints]:
    """Vocabulary, and the text with its sentences' marks as word numbers."""
    numbers = {word: number for number, word in enumerate(_RESERVED)}
    flat: list[int] = []
    for words in sentences:
        for word in words:
            if word in _RESERVED:
                raise ValueError(f"the text holds the reserved word {word!r}")
        flat.append(0)
        flat.extend(numbers.setdefault(word, len(numbers)) for word in words)
        flat.append(1)
    if not flat:
        raise ValueError("there is no sentence to count")
    return list(numbers), np.array(flat, np.int64)


def _unigrams(text: Ints, vocabulary: int) -> _Level:
    """Every word, those without count too: `<unk>`."""
    first = np.zeros(vocabulary, np.int64)
    first[text[::-1]] = np.arange(len(text))[::-1]
    nothing = np.zeros(vocabulary, np.int64)
    return _Level(first, text, np.bincount(text, minlength=vocabulary), nothing, nothing)


def _longer(shorter: _Level, text: Ints, sentence: Ints, n: int, vocabulary: int) -> _Level:
    """The n-grams, from those one word shorter."""
    number = np.full(len(text), -1, np.int64)
    last = len(text) - n + 1
    places = np.flatnonzero(sentence[:last] == sentence[n - 1 :]) if last > 0 else text[:0]
    keys = shorter.number[places] * vocabulary + text[places + n - 1]
    _, first, inverse, count = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    first = places[first]
    number[places] = inverse
    return _Level(first, number, count, shorter.number[first], shorter.number[first + 1])


def _threshold(prune: Sequence[int], n: int) -> int:
    return prune[min(n, len(prune)) - 1] if prune else 0


def _adjusted(level: _Level, longer: _Level | None, text: Ints) -> Ints:
    """How many different words stand before each n-gram; its count at a sentence's start, and in
    the highest order."""
    if longer is None:
        return level.count
    different = np.bincount(longer.suffix, minlength=len(level.count))
    return np.where(text[level.first] == 0, level.count, different)


def _discounts(counts: Ints) -> Floats:
    """(4,): what is taken off a count of 0, 1, 2, 3 or more (Chen and Goodman, equation 26).

    None of them is 0: a context whose counts lose nothing would make every other word impossible.
    """
    n1, n2, n3, n4 = (int((counts == own).sum()) for own in (1, 2, 3, 4))
    if min(n1, n2, n3) > 0:
        y = n1 / (n1 + 2 * n2)
        found = np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
        if (found[1:] > 0).all() and (found[1:] <= [1, 2, 3]).all():
            return found
    return _FALLBACK  # too little text for the estimate, or one repeated as a whole


def _smooth(
    levels: Sequence[_Level], thresholds: Sequence[int], text: Ints, vocabulary: int
) -> list[Order]:
    """Probabilities from the lowest order up, then what pruning leaves."""
    probability = np.full(1, 1.0 / (vocabulary - 1))  # uniform; what starts is never predicted
    found: list[Order] = []
    kept_before = np.ones(1, np.bool_)
    for n, level in enumerate(levels, 1):
        longer = levels[n] if n < len(levels) else None
        counts = _adjusted(level, longer, text)
        if n == 1:
            counts = np.where(np.arange(vocabulary) == 0, 0, counts)
        left = counts - _discounts(counts)[np.minimum(counts, 3)]
        kept = (level.count > thresholds[n - 1]) | (n == 1)
        # What is kept must be reachable through its own beginning.
        kept &= kept_before[level.prefix]
        contexts = len(probability)
        total = np.bincount(level.prefix, counts, contexts)
        share = np.where(kept, left / np.maximum(total[level.prefix], 1), 0.0)
        backoff = 1.0 - np.bincount(level.prefix, share, contexts)
        if found:
            has_more = np.bincount(level.prefix[kept], minlength=contexts) > 0
            weight = np.where(has_more, backoff, np.nan)[kept_before]
            found[-1] = replace(found[-1], backoff=weight)
        probability = share + backoff[level.prefix] * probability[level.suffix]
        if n == 1:
            probability[0] = 0.0
        last = text[level.first[kept] + n - 1] if n > 1 else np.arange(vocabulary)
        place = np.cumsum(kept_before) - 1  # among those that are left
        keys = place[level.prefix[kept]] * vocabulary + last
        nothing = np.full(len(keys), np.nan)
        found.append(Order(n, keys, probability[kept], nothing, text, level.first[kept]))
        kept_before = kept
    return found
