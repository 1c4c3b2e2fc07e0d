"""Which tokens may come where a text must be one of some, or a sentence of a grammar.

Masks of grammars are llguidance's (https://github.com/guidance-ai/llguidance), which walks a trie
of the vocabulary with a lexer and an Earley parser; the median mask of 8192 tokens takes 3 us.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Guide, TokenChoices
from service.engine.sampling.endings import Budget, Closers

Mask = NDArray[np.bool_]
Words = NDArray[np.uint32]  # a bit a token, lowest first


class GuideState(Protocol):
    """Where a continuation stands in what it must spell."""

    @property
    def guides(self) -> Guides:
        """What made it."""

    def allow(self, words: Words) -> bool:
        """Set `words` (`Guides.num_words`,) to the tokens that may come next; whether the text may
        end instead. None of them stands for no text."""

    def advance(self, token: int) -> None:
        """The continuation went on with `token`."""

    def copy(self) -> GuideState:
        """One that goes on apart from this one."""


class Guides:
    """Makes states over one vocabulary."""

    def __init__(self, spellings: Sequence[bytes]) -> None:
        """`spellings`: the bytes of each token in a text, b"" for those that stand for none."""
        self.spellings = spellings

    def begin(self, guide: Guide) -> GuideState:
        """At the beginning of a text. Raises ValueError for a grammar that is none."""
        if not self.spellings:
            raise ValueError("this engine does not know how its tokens are spelled")
        if isinstance(guide, TokenChoices):
            return _ChoiceState(_trie(guide.sequences), self)
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, guide.text)
        if matcher.is_error():
            raise ValueError(f"no usable grammar: {matcher.get_error()}")
        place = _Place(matcher, self)
        budget = None
        if guide.max_tokens is not None:
            budget = Budget.of(self._closers, place, guide.max_tokens)
        return _GrammarState(place, budget)

    @cached_property
    def _closers(self) -> Closers:
        return Closers(self.spellings)

    @cached_property
    def _tokenizer(self) -> Any:
        try:
            from llguidance import LLTokenizer
        except ImportError:
            raise ValueError("grammars need the extra 'guided' of this package") from None
        return LLTokenizer(
            _Vocabulary(self.spellings),  # type: ignore[arg-type]
            n_vocab=len(self.spellings),
            slices=LLTokenizer.json_slices(),
        )

    @cached_property
    def num_words(self) -> int:
        return (len(self.spellings) + 31) // 32

    def words_of(self, tokens: Iterable[int]) -> Words:
        """Bits of some tokens."""
        bits = np.zeros(32 * self.num_words, np.bool_)
        bits[list(tokens)] = True
        return np.packbits(bits, bitorder="little").view(np.uint32)

    def mask_of(self, words: Words) -> Mask:
        """Bits (V,), each in a byte of its own."""
        bits = np.unpackbits(words.view(np.uint8), bitorder="little").view(np.bool_)
        return bits[: len(self.spellings)]

    def endings(self, stops: NDArray[np.int64]) -> Words:
        """Those of the stop tokens that stand for no text, which come where a text may end."""
        return self.words_of(stops[self.is_silent[stops]].tolist())

    @cached_property
    def spelled(self) -> Words:
        """Tokens that stand for some text."""
        return self.words_of(np.flatnonzero(~self.is_silent).tolist())

    @cached_property
    def begins_inside(self) -> Words:
        """Tokens that do not begin with a space."""
        spellings = enumerate(self.spellings)
        return self.words_of(k for k, spelling in spellings if not spelling.startswith(b" "))

    @cached_property
    def is_silent(self) -> Mask:
        return np.array([not spelling for spelling in self.spellings])


def allowed_tokens(state: GuideState, stops: NDArray[np.int64]) -> Mask:
    """Which tokens (V,) may come next, those that end the text among them where it may end."""
    words = np.empty(state.guides.num_words, np.uint32)
    if state.allow(words):
        words |= state.guides.endings(stops)
    return state.guides.mask_of(words)


class _Vocabulary:
    """A vocabulary as llguidance takes it. Tokens that stand for no text are special."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, spellings: Sequence[bytes]) -> None:
        silent = [k for k, spelling in enumerate(spellings) if not spelling]
        self.tokens = [spelling or b"\xff<%d>" % k for k, spelling in enumerate(spellings)]
        self.special_token_ids = silent
        # One of them must end texts; which do is decided elsewhere, and its bit is not looked at.
        self.eos_token_id = silent[0]

    def __call__(self, _text: str | bytes) -> list[int]:
        return []  # would be asked for tokens that are forced; none are


class _Place:
    """After some tokens of a text. A token that begins with a space, straight after a line break,
    would lose it when the text is put together: none is allowed there."""

    def __init__(self, matcher: Any, guides: Guides, *, ends_line: bool = False) -> None:
        self._matcher, self.guides, self._ends_line = matcher, guides, ends_line

    def allow(self, words: Words) -> bool:
        matcher, guides = self._matcher, self.guides
        if matcher.is_stopped():
            words[:] = 0
            return not matcher.is_error()
        matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        words &= guides.spelled
        if self._ends_line:
            words &= guides.begins_inside
        return bool(matcher.is_accepting())

    @property
    def may_end(self) -> bool:
        matcher = self._matcher
        return bool(not matcher.is_error() if matcher.is_stopped() else matcher.is_accepting())

    def fill(self, mask: Mask) -> None:
        """As `allow`, a byte a token: (V,)."""
        words = np.empty(self.guides.num_words, np.uint32)
        self.allow(words)
        mask[:] = self.guides.mask_of(words)

    def advance(self, token: int) -> None:
        if self._matcher.is_stopped() or self.guides.is_silent[token]:
            return
        self._matcher.consume_token(token)
        self._ends_line = self.guides.spellings[token].endswith(b"\n")

    def copy(self) -> _Place:
        return _Place(self._matcher.deep_copy(), self.guides, ends_line=self._ends_line)


class _GrammarState:
    """A place in a text that fulfils a grammar, and what it may still cost to end it."""

    def __init__(self, place: _Place, budget: Budget | None) -> None:
        self.guides, self._place, self._budget = place.guides, place, budget

    def allow(self, words: Words) -> bool:
        may_end = self._place.allow(words)
        if self._budget is not None and self._budget.is_watched:
            mask = self.guides.mask_of(words)
            self._budget.narrow(self._place, mask)
            words[:] = self.guides.words_of(np.flatnonzero(mask).tolist())
        return may_end

    def advance(self, token: int) -> None:
        self._place.advance(token)
        if self._budget is not None:
            self._budget.spend(token)

    def copy(self) -> _GrammarState:
        budget = None if self._budget is None else self._budget.copy()
        return _GrammarState(self._place.copy(), budget)


class _Node:
    """Of a trie of token sequences: what may follow, and whether a sequence ends here."""

    __slots__ = ("children", "is_end", "words")

    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.is_end = False
        self.words: Words | None = None  # of the children, once they were asked for


def _trie(sequences: Sequence[Sequence[int]]) -> _Node:
    root = _Node()
    for sequence in sequences:
        node = root
        for token in sequence:
            node = node.children.setdefault(token, _Node())
        node.is_end = True
    return root


_NOWHERE = _Node()


class _ChoiceState:
    """After some tokens of one of the sequences."""

    def __init__(self, node: _Node, guides: Guides) -> None:
        self._node, self.guides = node, guides

    def allow(self, words: Words) -> bool:
        node = self._node
        if node.words is None:
            node.words = self.guides.words_of(node.children) & self.guides.spelled
        words[:] = node.words
        return node.is_end

    def advance(self, token: int) -> None:
        self._node = self._node.children.get(token, _NOWHERE)

    def copy(self) -> _ChoiceState:
        return _ChoiceState(self._node, self.guides)
