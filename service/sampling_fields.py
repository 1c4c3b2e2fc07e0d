"""From sampling fields by name, and a checkpoint's defaults, to the engine's `SamplingParams`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from models.tokenizer import Tokenizer
from service.engine.request import SamplingParams

_SMALLEST_TOP_P = 1e-9  # the best token is always kept, and 0 keeps nothing else


def resolve_sampling(
    tokenizer: Tokenizer,
    defaults: Mapping[str, Any],
    end_ids: Sequence[int],
    given: Mapping[str, Any],
) -> SamplingParams:
    """Settings of a continuation; a field that is None or missing takes the checkpoint's default.

    end_ids: the tokens that end a text of this kind unless `ignore_eos` is set. Of the control
    tokens only those, and what is named in `stop_token_ids`, are ever generated.
    Raises ValueError, naming the field, for what is unknown or contradictory.
    """
    set_fields = {name: value for name, value in given.items() if value is not None}
    known = {each.name for each in fields(SamplingParams)} | {"ignore_eos"}
    for name in set_fields:
        if name not in known:
            nearest = get_close_matches(name, known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"{name} is no sampling field{hint}")
    values = {**defaults, **set_fields}
    stops = tuple(values.pop("stop_token_ids", ()))
    if not values.pop("ignore_eos", False):
        stops = tuple(dict.fromkeys((*end_ids, *stops)))
    allowed = values.get("allowed_token_ids")
    named = {*stops, *(allowed or ())}
    return SamplingParams(
        **{
            **values,
            "top_k": max(0, values.get("top_k", 0)),
            "top_p": max(_SMALLEST_TOP_P, values.get("top_p", 1.0)),
            "seed": secrets.randbits(48) if values.get("seed") is None else values["seed"],
            "stop_token_ids": stops,
            "bad_words": bad_word_ids(values.get("bad_words", ()), tokenizer),
            "suppressed_token_ids": suppressed_ids(tokenizer, named),
        }
    )


def bad_word_ids(words: Iterable[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """Each word's tokens, as it begins a word and as it goes on in one."""
    sequences: dict[tuple[int, ...], None] = {}
    for word in words:
        bare = word.removeprefix(" ") or word
        for continuation in (False, True):
            sequences[tuple(tokenizer.encode(bare, continuation=continuation))] = None
    sequences.pop((), None)  # a normaliser may leave nothing of a word
    return tuple(sequences)


def suppressed_ids(tokenizer: Tokenizer, named: Iterable[int]) -> tuple[int, ...]:
    """The control tokens that are not named, which are never generated."""
    kept = set(named)
    return tuple(token for token in tokenizer.control_ids.values() if token not in kept)
