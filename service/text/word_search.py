"""Which word comes next: exact probabilities of words, and a search for the most probable ones.

A word is what stands between white space (spaces and newlines; punctuation belongs to it). With
`w_1..w_n` the canonical tokens of " word" and B the tokens that begin a word (those that start
with a space or a newline, and control tokens such as end-of-sequence),

    P(word | context) = P(w_1..w_n | context) * P(the token after them is in B).

The second factor keeps "the" apart from "then" and "therefore". Only a word's canonical
segmentation counts. A start of a path that is not canonical cannot become canonical: the longest
common part of two best segmentations is itself a best segmentation, for Viterbi search in a
unigram model (Kudo 2018) as for byte-pair merges, so that such a path is left at once.

The search is best-first over token paths (Dijkstra on -ln P): P of a path bounds P of every word
that starts with it, so the k-th best word found is final once no open path is more probable.
"""

from __future__ import annotations

import codecs
import functools
import heapq
import math
import operator
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.pretokenize import MAX_WORD
from service.text.history import TooManyTokensError

Path = tuple[int, ...]
Floats = NDArray[np.float32]

Expand = Callable[[Sequence[Path]], Awaitable[Sequence[Floats]]]
"""ln P of every token, (V,), after the context followed by each path of token ids."""

# Paths expanded in one call: what one step of a model computes for the price of a few.
_BATCH = 16
# Children sorted at a time. Of a vocabulary of thousands few are ever asked for.
_SORTED = 64


class Vocabulary(Protocol):
    """What the search needs of a `models.tokenizer.Tokenizer`."""

    @property
    def begins_word(self) -> NDArray[np.bool_]: ...

    def token_bytes(self, token_id: int) -> bytes: ...

    def encode(self, text: str, *, continuation: bool = False) -> list[int]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """A word, its canonical tokens and ln P(word | context), its end included."""

    word: str
    token_ids: Path
    logprob: float


@dataclass(frozen=True, kw_only=True, slots=True)
class WordSearch:
    """What a search found. The six masses are probabilities and add up to 1.

    words: the most probable ones found, best first.
    is_complete: no other word can be more probable than the last of `words`.
    num_expansions: distributions computed.
    found_mass: of all words found, those beyond `words` included.
    unexplored_mass: of everything not looked at; no word that was not found can have more.
    non_canonical_mass: of token paths that spell something in other than its canonical tokens.
    no_word_mass: the line or the sequence ends, or more white space follows.
    continued_mass: no new word begins; the last word of the context goes on.
    excluded_mass: words that do not begin with the prefix searched for.
    """

    words: tuple[Word, ...]
    is_complete: bool
    num_expansions: int
    found_mass: float
    unexplored_mass: float
    non_canonical_mass: float
    no_word_mass: float
    continued_mass: float
    excluded_mass: float


def check_word(word: str) -> None:
    """Raise ValueError unless `word` is one word."""
    if not word:
        raise ValueError("a word must not be empty")
    check_prefix(word)


def check_prefix(prefix: str) -> None:
    """Raise ValueError unless a word can begin with `prefix`."""
    if " " in prefix or "\n" in prefix:
        raise ValueError(f"{prefix[:40]!r} is not one word: it contains a space or a newline")


def context_tokens(vocabulary: Vocabulary, context: str, *, continuation: bool) -> list[int]:
    """The tokens after which the token path of the next word begins.

    The context is a finished sequence of words: its last word does not go on, and one space that
    ends it belongs to the next word. So "the cat" and "the cat " are the same context.
    """
    if starts_line(context, continuation=continuation):
        return vocabulary.encode(context, continuation=continuation)
    spaced = context if context.endswith(" ") else context + " "
    # The last chunk of such a text is the space alone, which is one token.
    return vocabulary.encode(spaced, continuation=continuation)[:-1]


def starts_line(context: str, *, continuation: bool) -> bool:
    """Whether the next word is the first of a text or line, so that no word ends before it."""
    return context.endswith("\n") or not (context or continuation)


def encode_words(vocabulary: Vocabulary, words: Sequence[str], *, max_tokens: int) -> list[Path]:
    """The tokens of each word behind a finished context.

    Raises TooManyTokensError as soon as there are more than `max_tokens` in all.
    """
    encoded: list[Path] = []
    num_tokens = 0
    for word in words:
        # No token has more characters: a word that is far too long is not segmented.
        if (least := num_tokens + len(word) // (MAX_WORD + 1)) > max_tokens:
            raise TooManyTokensError(least)
        encoded.append(tuple(vocabulary.encode(word)))
        num_tokens += len(encoded[-1])
        if num_tokens > max_tokens:
            raise TooManyTokensError(num_tokens)
    return encoded


def word_end_logprob(logprobs: Floats, vocabulary: Vocabulary) -> float:
    """ln P(the next token begins a word), from ln P of every token, (V,)."""
    return _log_sum_exp(logprobs[vocabulary.begins_word])


def word_logprob(token_logprobs: Floats, after: Floats, vocabulary: Vocabulary) -> float:
    """ln P of a word from ln P of each of its tokens and of every token after them, (V,)."""
    # Added one by one, as the search does: `sum` of later Pythons compensates.
    tokens = functools.reduce(operator.add, token_logprobs.tolist(), 0.0)
    return tokens + word_end_logprob(after, vocabulary)


async def search_words(
    expand: Expand, vocabulary: Vocabulary, *, top_k: int, max_expansions: int, prefix: str = ""
) -> WordSearch:
    """The `top_k` most probable next words, from at most `max_expansions` (>= 1) distributions.

    prefix: what has been typed of the word; only words that begin with it are looked for.
    """
    search = _Search(vocabulary, prefix)
    (root,) = await expand([()])
    search.open_root(root)
    while not search.is_complete(top_k):
        paths = search.take(min(_BATCH, max_expansions - search.num_expansions))
        if not paths:
            break
        expansions = await expand([path.token_ids for path in paths])
        for path, logprobs in zip(paths, expansions, strict=True):
            search.expand(path, logprobs)
    return search.result(top_k)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Path:
    """A beginning of a word: its tokens, ln P of them and the bytes they spell."""

    token_ids: Path
    logprob: float
    spelling: bytes


class _Children:
    """The one-token continuations of a path, most probable first, sorted as they are asked for."""

    def __init__(self, path: _Path, token_ids: NDArray[np.intp], logprobs: Floats) -> None:
        """`logprobs`: ln P of each of `token_ids` after the path; altered as they are sorted."""
        self.path = path
        self._token_ids = token_ids
        self._unsorted = logprobs
        self._sorted: list[tuple[float, int]] = []  # (ln P, -token id), the best one last

    def best(self) -> float:
        """ln P, the path included, of the most probable one left; -inf if there is none."""
        if not self._sorted and self._unsorted.size:
            size = min(_SORTED, self._unsorted.size)
            chosen = np.argpartition(-self._unsorted, size - 1)[:size]
            pairs = zip(self._unsorted[chosen].tolist(), self._token_ids[chosen], strict=True)
            self._sorted = sorted((value, -int(token_id)) for value, token_id in pairs)
            self._unsorted[chosen] = -np.inf
        return self.path.logprob + self._sorted[-1][0] if self._sorted else -math.inf

    def pop(self) -> tuple[int, float]:
        """Token id and ln P, the path included, of the one that `best` told."""
        logprob, negative_id = self._sorted.pop()
        return -negative_id, self.path.logprob + logprob

    def mass(self) -> float:
        """Probability of all that are left."""
        left = math.fsum(math.exp(logprob) for logprob, _ in self._sorted)
        return math.exp(self.path.logprob) * (left + _mass(self._unsorted))


class _Search:
    """The frontier, the words found and the account of the probability mass."""

    def __init__(self, vocabulary: Vocabulary, prefix: str) -> None:
        self.num_expansions = 0
        self._vocabulary = vocabulary
        self._prefix = f" {prefix}".encode()
        self._inside_word = np.flatnonzero(~vocabulary.begins_word)
        self._words: list[Word] = []
        self._expanded: list[_Children] = []
        self._frontier: list[tuple[float, int]] = []  # (-ln P of its best child, expanded path)
        self._non_canonical = self._no_word = self._continued = self._excluded = 0.0

    def open_root(self, logprobs: Floats) -> None:
        """Begin with the distribution after the context."""
        starts = np.flatnonzero(self._vocabulary.begins_word)
        spellings = map(self._vocabulary.token_bytes, starts.tolist())
        has_space = np.array([spelling.startswith(b" ") for spelling in spellings], dtype=bool)
        self._no_word += _mass(logprobs[starts[~has_space]])
        self._continued += _mass(logprobs[self._inside_word])
        self._open(_Path(token_ids=(), logprob=0.0, spelling=b""), starts[has_space], logprobs)

    def is_complete(self, top_k: int) -> bool:
        """Whether no word still to be found can be among the best `top_k`."""
        if not self._frontier or not top_k:
            return True
        best = heapq.nlargest(top_k, (word.logprob for word in self._words))
        return len(best) == top_k and best[-1] >= -self._frontier[0][0]

    def take(self, limit: int) -> list[_Path]:
        """The most probable open paths, at most `limit`; each must then be expanded."""
        taken: list[_Path] = []
        while self._frontier and len(taken) < limit:
            _, index = heapq.heappop(self._frontier)
            parent = self._expanded[index]
            token_id, logprob = parent.pop()
            self._push(index)
            path = _Path(
                token_ids=(*parent.path.token_ids, token_id),
                logprob=logprob,
                spelling=parent.path.spelling + self._vocabulary.token_bytes(token_id),
            )
            if self._may_be_canonical(path):
                taken.append(path)
            else:
                self._non_canonical += math.exp(logprob)
        return taken

    def expand(self, path: _Path, logprobs: Floats) -> None:
        """Take in the distribution after a path."""
        end = path.logprob + word_end_logprob(logprobs, self._vocabulary)
        text = _decode(path.spelling)
        if not text:  # ends inside a character
            self._non_canonical += math.exp(end)
        elif text == " ":
            self._no_word += math.exp(end)
        elif not path.spelling.startswith(self._prefix):
            self._excluded += math.exp(end)
        else:
            self._words.append(Word(word=text[1:], token_ids=path.token_ids, logprob=end))
        self._open(path, self._inside_word, logprobs)

    def result(self, top_k: int) -> WordSearch:
        """What has been found so far."""
        words = sorted(self._words, key=lambda word: (-word.logprob, word.word))
        return WordSearch(
            words=tuple(words[:top_k]),
            is_complete=self.is_complete(top_k),
            num_expansions=self.num_expansions,
            found_mass=math.fsum(math.exp(word.logprob) for word in words),
            unexplored_mass=math.fsum(children.mass() for children in self._expanded),
            non_canonical_mass=self._non_canonical,
            no_word_mass=self._no_word,
            continued_mass=self._continued,
            excluded_mass=self._excluded,
        )

    def _open(self, path: _Path, token_ids: NDArray[np.intp], logprobs: Floats) -> None:
        if missing := self._prefix[len(path.spelling) :]:
            fits = self._fit(missing, token_ids)
            self._excluded += math.exp(path.logprob) * _mass(logprobs[token_ids[~fits]])
            token_ids = token_ids[fits]
        self._expanded.append(_Children(path, token_ids, logprobs[token_ids]))
        self.num_expansions += 1
        self._push(len(self._expanded) - 1)

    def _fit(self, missing: bytes, token_ids: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of the tokens go on with what is `missing` of the prefix, or past it."""
        if missing == b" ":
            return np.ones(len(token_ids), dtype=bool)  # the caller's all begin so
        spellings = map(self._vocabulary.token_bytes, token_ids.tolist())
        return np.array(
            [data.startswith(missing) or missing.startswith(data) for data in spellings], dtype=bool
        )

    def _push(self, index: int) -> None:
        best = self._expanded[index].best()
        if best > -math.inf:
            heapq.heappush(self._frontier, (-best, index))

    def _may_be_canonical(self, path: _Path) -> bool:
        """Whether the path is canonical, or within a character and may yet become so."""
        text = _decode(path.spelling)
        if not text:
            return text == ""
        return self._vocabulary.encode(text, continuation=True) == list(path.token_ids)


def _decode(spelling: bytes) -> str | None:
    """The text of some UTF-8; "" where it ends inside a character, None where it is wrong."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(spelling)
    except UnicodeDecodeError:
        return None
    unfinished, _ = decoder.getstate()
    return "" if unfinished else text


def _mass(logprobs: Floats) -> float:
    return float(np.exp(logprobs.astype(np.float64)).sum())


def _log_sum_exp(logprobs: Floats) -> float:
    best = float(logprobs.max())
    return best + math.log(np.exp(logprobs.astype(np.float64) - best).sum())
