"""How a text that must fulfil a grammar comes to its end within the tokens that it may have.

A small model rarely closes what it has opened, and a text cut off at its limit is no JSON. So a
continuation is watched near its limit: as long as tokens are plenty everything that the grammar
allows may come, then only what leaves enough of them for the shortest known way to an end, and at
last that way alone. A way is found greedily: at every place the token that closes most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

# A way of more tokens is not looked for.
_LONGEST_WAY = 256
# Of so many tokens it is found out by trying how far from an end each of them leads.
_TRIED = 8
# More tokens than that may come only in the text of a string.
_STRUCTURE = 64
# A letter more or less changes no way; what is structure may.
_SPARE = 4


class Walker(Protocol):
    """A place in a text that fulfils a grammar."""

    @property
    def may_end(self) -> bool: ...
    def fill(self, mask: Mask) -> None:
        """Set `mask` (V,) to the tokens with text that may come next."""

    def advance(self, token: int) -> None: ...
    def copy(self) -> Walker: ...


class Closers:
    """Of a vocabulary, which tokens close soonest, and which are neither structure nor its end."""

    def __init__(self, spellings: Sequence[bytes]) -> None:
        every = range(len(spellings))
        ranks = [_rank(spelling) for spelling in spellings]
        # In the text of a string a bracket closes nothing, and signs such as @ lead on. Of the few
        # tokens that may come elsewhere, such as the letters of a name, the long ones do.
        self._in_text = np.array(
            sorted(every, key=lambda k: (_IN_TEXT[ranks[k]], len(spellings[k]), spellings[k]))
        )
        self._in_structure = np.array(
            sorted(every, key=lambda k: (ranks[k], -len(spellings[k]), spellings[k]))
        )
        self._closes = np.array(ranks) < _DIGITS
        self.is_plain = np.array([_is_plain(spelling) for spelling in spellings])

    def way(self, place: Walker, longest: int) -> list[int] | None:
        """Tokens from `place` to an end, None where no more than `longest` are found."""
        place, tokens = place.copy(), list[int]()
        mask, fresh = np.empty((2, len(self.is_plain)), np.bool_)
        fresh[:] = True
        while not place.may_end:
            if len(tokens) == longest:
                return None
            place.fill(mask)
            is_text = np.count_nonzero(mask) > _STRUCTURE
            order = self._in_text if is_text else self._in_structure
            # A token that did not lead out is not tried again before the others.
            known = (mask & fresh)[order]
            token = int(order[known.argmax()])
            if not known.any():
                known = mask[order]
                token = int(order[known.argmax()])
                if not mask[token]:
                    return None
            tokens.append(token)
            fresh[token] = self._closes[token]
            place.advance(token)
        return tokens


_BRACKETS, _QUOTES, _SEPARATORS, _DIGITS, _LETTERS, _SIGNS, _OTHERS, _OPENERS = range(8)
# Quotes, signs, digits, letters, and then the rest.
_IN_TEXT = (4, 0, 1, 2, 3, 1, 4, 5)


def _rank(spelling: bytes) -> int:
    """Closing brackets before quotes, separators, digits, letters; what opens comes last."""
    text = spelling.strip()
    kinds = (b"}])", b"\"'", b",:", b"0123456789")
    for rank, kind in enumerate(kinds):
        if text and all(byte in kind for byte in text):
            return rank
    if text.isalpha():
        return _LETTERS
    if any(byte in b"{[(\\" for byte in spelling):
        return _OPENERS
    return _SIGNS if len(spelling) == 1 and spelling.isascii() and text else _OTHERS


def _is_plain(spelling: bytes) -> bool:
    try:
        text = spelling.decode()
    except UnicodeDecodeError:
        return False
    return bool(text) and all(char == " " or char.isalnum() for char in text)


@dataclass(slots=True)
class Budget:
    """Tokens that a continuation may still have, the one that ends it included.

    spare: below so many tokens more than the way needs, it is looked where each token leads.
    """

    closers: Closers
    left: int
    spare: int = 0
    _pause: int = 0
    _way: list[int] | None = field(default=None)

    @classmethod
    def of(cls, closers: Closers, place: Walker, max_tokens: int) -> Budget | None:
        """At the beginning of a text; None where no way to an end fits."""
        way = closers.way(place, min(_LONGEST_WAY, max_tokens - 1))
        if way is None:
            return None
        return cls(closers, max_tokens, spare=len(way) + _SPARE)

    def copy(self) -> Budget:
        return Budget(self.closers, self.left, self.spare, self._pause, self._way)

    @property
    def is_watched(self) -> bool:
        """Whether it is time to look how far the end is."""
        return self._pause <= 0

    def spend(self, token: int) -> None:
        """The continuation went on with `token`."""
        self.left -= 1
        self._pause -= 1
        way, self._way = self._way, None
        if way and way[0] == token:
            self._way = way[1:]
        elif way and self.closers.is_plain[token] and self.left - len(way) > _SPARE:
            self._way = way  # the text of a string goes on: what closes it is the same

    def narrow(self, place: Walker, mask: Mask) -> None:
        """Take out of `mask` what leads too far from an end: all, where the text must end here."""
        way = self._way
        if way is None:
            way = self.closers.way(place, min(_LONGEST_WAY, self.left - 1))
        if way is None:  # too late, or the text is in a maze
            return
        self._way = way
        spare = self.left - len(way) - 1
        if spare > self.spare:
            # A token makes the way longer by few others: time enough to look again.
            self._pause = (spare - self.spare) // 4
            return
        if spare > 1:
            self._keep_what_fits(place, mask)
            return
        mask[:] = False
        mask[way[:1]] = True

    def _keep_what_fits(self, place: Walker, mask: Mask) -> None:
        """Tokens after which the way is still short enough; `_way` begins with one of them."""
        tokens = np.flatnonzero(mask)
        first = self._way[:1] if self._way else []
        if len(tokens) > _TRIED:
            mask &= self.closers.is_plain
            mask[first] = True
            return
        for token in tokens.tolist():
            after = place.copy()
            after.advance(token)
            mask[token] = self.closers.way(after, self.left - 2) is not None
