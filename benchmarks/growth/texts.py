"""Texts and N-best lists of a wanted size, made up of a model's own words."""

from __future__ import annotations

import random
from collections.abc import Sequence

from models.tokenizer import Tokenizer

_SENTENCE = 15  # words
_DOUBTFUL = 8  # of them, each with three readings


def random_text(tokenizer: Tokenizer, words: Sequence[int], size: int, *, seed: int) -> str:
    """Random words of `size` UTF-8 bytes together, cut where it is full (ASCII words assumed not).

    The words are tokens' own, so there are about as many tokens.
    """
    draw = random.Random(seed)
    parts: list[bytes] = []
    length = 0
    while length < size:
        for token in draw.choices(words, k=1024):
            parts.append(tokenizer.token_bytes(token))
            length += len(parts[-1])
    return b"".join(parts)[1 : size + 1].decode("utf-8", errors="ignore")


def hypotheses(tokenizer: Tokenizer, words: Sequence[int], size: int, *, seed: int) -> list[str]:
    """So many readings of one sentence, all different, as a recogniser lists them."""
    draw = random.Random(seed)
    readings = [draw.choices(words, k=3 if k < _DOUBTFUL else 1) for k in range(_SENTENCE)]
    draw.shuffle(readings)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < size:
        found[tuple(map(draw.choice, readings))] = None
    return [
        b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", errors="ignore").strip()
        for ids in found
    ]
