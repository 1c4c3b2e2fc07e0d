"""N-best lists as token ids: a recogniser's, or made up to be like them."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.tokenizer import Tokenizer
from service.engine.prefix_tree import PrefixTree

Hypotheses = list[list[int]]

_BOS, _EOS = 1, 2
_FIRST_WORD = 3
_LONGEST = 100
_LIKELIHOODS = (1, 0.35, 0.12, 0.04, 0.015)  # of a doubtful place's readings


@dataclass(frozen=True, kw_only=True)
class Lists:
    """N-best lists, hypotheses with begin- and end-of-sequence, and where they come from."""

    hypotheses: list[Hypotheses]
    source: str

    @property
    def num_scored(self) -> int:
        """Tokens with a log-probability: all but the begin-of-sequence of each hypothesis."""
        return sum(len(ids) - 1 for own in self.hypotheses for ids in own)

    @property
    def tokens_per_node(self) -> float:
        """Tokens for each distinct prefix in their list, begin-of-sequence counted in both."""
        tokens = sum(len(ids) for own in self.hypotheses for ids in own)
        return tokens / sum(PrefixTree(own).num_tokens for own in self.hypotheses)


def read_lists(path: Path, tokenizer: Tokenizer) -> Lists:
    """Lists from JSON lines (gzip), one {"hyps": [{"text": ...}, ...]} each.

    Raises ValueError where the file is of another form, OSError where it cannot be read.
    """
    lists = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                texts = [hypothesis["text"] for hypothesis in json.loads(line)["hyps"]]
            except (KeyError, TypeError, json.JSONDecodeError) as error:
                raise ValueError(f"{path}, line {number}, is no N-best list: {error}") from error
            bos, eos = tokenizer.bos_id, tokenizer.eos_id
            lists.append([[bos, *tokenizer.encode(text), eos] for text in texts])
    return Lists(hypotheses=lists, source=path.name)


def made_up_lists(count: int, vocab_size: int, *, seed: int = 0) -> Lists:
    """Lists such as a recogniser's: one sentence, and readings of its few doubtful places.

    Their lengths, and how much they share, are near those of PocketSphinx on read sentences.
    """
    draw = random.Random(seed)
    return Lists(
        hypotheses=[_made_up_list(draw, vocab_size) for _ in range(count)], source="made up"
    )


def _made_up_list(draw: random.Random, vocab_size: int) -> Hypotheses:
    words = range(_FIRST_WORD, vocab_size)
    sentence = draw.choices(words, k=draw.randint(9, 22))
    # Readings of a doubtful place, the sentence's own first, then of no, one or two tokens.
    readings = {
        place: [[sentence[place]], *(draw.choices(words, k=size) for size in (0, 1, 1, 2))]
        for place in draw.sample(range(len(sentence)), 5)
    }
    found: dict[tuple[int, ...], None] = {}
    while len(found) < _LONGEST:
        found[_reading(draw, sentence, readings)] = None
    return [[_BOS, *ids, _EOS] for ids in found]


def _reading(
    draw: random.Random, sentence: Sequence[int], readings: Mapping[int, Sequence[Sequence[int]]]
) -> tuple[int, ...]:
    ids: list[int] = []
    for place, token in enumerate(sentence):
        if place in readings:
            ids += draw.choices(readings[place], _LIKELIHOODS)[0]
        else:
            ids.append(token)
    return tuple(ids)
