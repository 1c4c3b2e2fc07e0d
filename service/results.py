"""What `LanguageModel` answers with. Every log-probability is a natural logarithm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.text.generated_text import FinishReason
from service.text.history import History
from service.text.word_search import Word


@dataclass(frozen=True, slots=True)
class TextState:
    """Where a text stands: of constant size however long the text, and good for one model only."""

    history: History = field(repr=False)
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedToken:
    """A token by id and SentencePiece's name; logprob: None where nothing stands before it."""

    id: int
    token: str
    logprob: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredToken(ListedToken):
    """A token of a text. start, end: the characters of the text that it stands for."""

    start: int
    end: int
    top_logprobs: tuple[ListedToken, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredWord:
    """A white-space word with the white space before it; the last may be end-of-sequence."""

    word: str
    logprob: float
    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TextScore:
    """The score of one text.

    num_tokens: tokens with a probability, end-of-sequence among them. perplexity: per token;
    word_perplexity: per word, end-of-sequence counted as one. A mean is None where it has no sense.
    tokens, words: None unless `detail` asked for them. state: after the text, if asked for.
    """

    logprob: float
    num_tokens: int
    num_words: int
    num_bytes: int
    perplexity: float | None
    word_perplexity: float | None
    bits_per_byte: float | None
    tokens: tuple[ScoredToken, ...] | None = None
    words: tuple[ScoredWord, ...] | None = None
    state: TextState | None = None

    @classmethod
    def of(cls, figures: Mapping[str, Any], state: TextState | None) -> TextScore:
        """`figures`: what `service.text.score_figures.describe_score` gives."""
        tokens, words = figures["tokens"], figures["words"]
        own = {
            "tokens": None if tokens is None else tuple(map(_scored_token, tokens)),
            "words": None if words is None else tuple(ScoredWord(**word) for word in words),
        }
        return cls(**{**figures, **own, "state": state})


def _scored_token(token: Mapping[str, Any]) -> ScoredToken:
    top = token["top_logprobs"]
    listed = None if top is None else tuple(ListedToken(**each) for each in top)
    return ScoredToken(**{**token, "top_logprobs": listed})


@dataclass(frozen=True, kw_only=True, slots=True)
class NextTokens:
    """The distribution over the next token.

    top: most probable first. tokens: those asked for, in that order. logprobs: ln P of every token
    by id, (V,), or None.
    """

    top: tuple[ListedToken, ...]
    tokens: tuple[ListedToken, ...]
    logprobs: NDArray[np.float32] | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NextWords:
    """The most probable next words and those asked for; see `service.text.word_search.WordSearch`.

    context_end_logprob: ln P(the last word of the context ends here), 0 where none stands before.
    """

    top: tuple[Word, ...]
    words: tuple[Word, ...]
    is_complete: bool
    context_end_logprob: float
    found_mass: float
    unexplored_mass: float
    non_canonical_mass: float
    no_word_mass: float
    continued_mass: float
    excluded_mass: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """A continuation. logprob: of its tokens, by the model as it is before any setting.

    seed: with the same settings it gives the same text. state: after the text, if asked for.
    """

    text: str
    finish_reason: FinishReason
    num_tokens: int
    logprob: float
    seed: int
    state: TextState | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Advanced:
    """A text behind a state. logprob: ln P(text | state); state: after both."""

    logprob: float
    state: TextState
