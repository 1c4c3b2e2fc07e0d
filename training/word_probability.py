"""How probable given words are, as the first word of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.scoring import token_losses


@dataclass(frozen=True)
class WordChange:
    """ln P of a word before and after, in nats."""

    word: str
    before: float
    after: float


def word_logprobs(model: LanguageModel, tokenizer: Tokenizer, words: Sequence[str]) -> list[float]:
    """ln P of each word's pieces after the beginning of a document, that nothing else colours.

    What the word may be followed by is not counted: "art" has the mass of "artist" where the
    tokenizer cuts it so.
    """
    sequences = [[tokenizer.bos_id, *tokenizer.encode(word)] for word in words]
    return [-float(losses.sum()) for losses in token_losses(model, sequences)]
