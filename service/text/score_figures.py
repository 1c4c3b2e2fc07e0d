"""From a prompt and its log-probabilities to the figures of `/v1/score`. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from models.tokenizer import Tokenizer
from service.text.generated_text import TopLogprobs
from service.text.history import Prompt

Floats = NDArray[np.float32]

Detail = Literal["totals", "words", "tokens"]

_WORD = re.compile(r"\S+")


class PromptScores(Protocol):
    """What an engine tells of a prompt: ln P of each token, and the alternatives if asked for."""

    @property
    def logprobs(self) -> Floats | None: ...
    @property
    def top(self) -> Sequence[TopLogprobs] | None: ...


def describe_score(
    prompt: Prompt, output: PromptScores | None, *, eos: bool, detail: Detail
) -> dict[str, Any]:
    """An entry of `data`, without index and state. `output` is None where nothing was scored."""
    logprobs = np.zeros(0, np.float32)
    if output is not None:
        assert output.logprobs is not None
        logprobs = output.logprobs[prompt.first :]
    tokens = words = None
    if detail != "totals":
        starts, ends = prompt.offsets()
        words = _words(prompt, logprobs, ends, eos=eos)
        if detail == "tokens":
            top = output.top[prompt.first :] if output is not None and output.top else None
            tokens = _tokens(prompt, logprobs, starts, ends, top)
    return {**_totals(prompt.text, logprobs, eos=eos), "tokens": tokens, "words": words}


def _totals(text: str, logprobs: Floats, *, eos: bool) -> dict[str, Any]:
    """Sums and means, in double precision. None where a mean has no sense.

    Word perplexity and bits per byte count the whole text, so they need all of it scored.
    """
    is_scored = ~np.isnan(logprobs)
    logprob = float(np.sum(logprobs, where=is_scored, dtype=np.float64))
    num_tokens = int(is_scored.sum())
    num_words = sum(1 for _ in _WORD.finditer(text))
    num_bytes = len(text.encode())
    events = num_words + eos if num_tokens == len(logprobs) else 0
    bytes_scored = num_bytes if num_tokens == len(logprobs) else 0
    return {
        "logprob": logprob,
        "num_tokens": num_tokens,
        "num_words": num_words,
        "num_bytes": num_bytes,
        "perplexity": perplexity(logprob, num_tokens),
        "word_perplexity": perplexity(logprob, events),
        "bits_per_byte": -logprob / (math.log(2) * bytes_scored) if bytes_scored else None,
    }


def perplexity(logprob: float, events: int) -> float | None:
    """exp(-logprob / events); None without events and where it exceeds every float."""
    try:
        return math.exp(-logprob / events) if events else None
    except OverflowError:
        return None


def _tokens(
    prompt: Prompt,
    logprobs: Floats,
    starts: Sequence[int],
    ends: Sequence[int],
    top: Sequence[TopLogprobs] | None,
) -> list[dict[str, Any]]:
    tokenizer = prompt.before.tokenizer
    tokens: list[dict[str, Any]] = []
    rows = zip(prompt.ids[prompt.first :], logprobs.tolist(), starts, ends, strict=True)
    for index, (token_id, logprob, start, end) in enumerate(rows):
        token = {**name_token(tokenizer, token_id, logprob), "start": start, "end": end}
        alternatives = top[index] if top is not None else None
        token["top_logprobs"] = (
            [name_token(tokenizer, *alternative) for alternative in alternatives]
            if alternatives is not None
            else None
        )
        tokens.append(token)
    return tokens


def name_token(tokenizer: Tokenizer, token_id: int, logprob: float) -> dict[str, Any]:
    """A `TokenLogprob`; NaN is written as null."""
    return {"id": token_id, "token": tokenizer.piece(token_id), "logprob": logprob}


def _words(
    prompt: Prompt, logprobs: Floats, ends: Sequence[int], *, eos: bool
) -> list[dict[str, Any]]:
    """Each word with the tokens that end after the word before it and not after its own end.

    What follows the last word counts for end-of-sequence, or without it for the last word, so that
    the words add up to the text; of a text of white space alone it is an entry without a word.
    """
    text, tokenizer = prompt.text, prompt.before.tokenizer
    spans = [(found[0], found.start(), found.end()) for found in _WORD.finditer(text)]
    if text and not spans and not eos:
        spans = [("", 0, len(text))]
    borders = [end for _, _, end in spans]
    if eos:
        spans.append((tokenizer.piece(tokenizer.eos_id), len(text), len(text)))
        borders.append(len(text) + 1)
    elif borders:
        borders[-1] = len(text)
    # Tokens up to a border; end-of-sequence comes after all, though its span is empty.
    token_ends = np.array(ends, dtype=np.int64)
    if eos:
        token_ends[-1] = len(text) + 1
    stops = np.searchsorted(token_ends, borders, side="right").tolist()
    values = logprobs.tolist()
    words, first = [], 0
    for (word, start, end), stop in zip(spans, stops, strict=True):
        logprob = math.fsum(values[first:stop])
        words.append({"word": word, "logprob": logprob, "start": start, "end": end})
        first = stop
    return words
