"""From sampling fields by name, and a checkpoint's defaults, to the engine's `SamplingParams`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from models.tokenizer import Tokenizer
from service.engine.request import SamplingParams

SMALLEST_TOP_P = 1e-9  # the best token is always kept, and 0 keeps nothing else


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
    ignore_eos = values.pop("ignore_eos", False)
    stops = stop_ids(end_ids, values.pop("stop_token_ids", ()), ignore_eos=ignore_eos)
    return SamplingParams(
        **{
            **values,
            "top_k": max(0, values.get("top_k", 0)),
            "top_p": max(SMALLEST_TOP_P, values.get("top_p", 1.0)),
            "seed": drawn_seed(values.get("seed")),
            "stop_token_ids": stops,
            "bad_words": bad_word_ids(values.get("bad_words", ()), tokenizer),
            "suppressed_token_ids": suppressed_ids(tokenizer, stops),
        }
    )


def drawn_seed(given: int | None) -> int:
    """The seed given; where none is, or -1, a new one, small enough for users of doubles."""
    return secrets.randbits(48) if given is None or given == -1 else given


def stop_ids(
    end_ids: Iterable[int], further: Iterable[int], *, ignore_eos: bool
) -> tuple[int, ...]:
    """The tokens that end a text: `end_ids`, unless they are to be ignored, and the `further` ones.

    Raises ValueError where a further one is to be ignored.
    """
    if not ignore_eos:
        return tuple(dict.fromkeys((*end_ids, *further)))
    excluded, stops = set(end_ids), tuple(dict.fromkeys(further))
    if both := [token for token in stops if token in excluded]:
        raise ValueError(f"stop_token_ids: {both[0]} ends every text, and ignore_eos excludes it")
    return stops


def bad_word_ids(words: Iterable[str], tokenizer: Tokenizer) -> tuple[tuple[int, ...], ...]:
    """Each word's tokens, as it begins a word and as it goes on in one."""
    sequences: dict[tuple[int, ...], None] = {}
    for word in words:
        bare = word.removeprefix(" ") or word
        for continuation in (False, True):
            sequences[tuple(tokenizer.encode(bare, continuation=continuation))] = None
    sequences.pop((), None)  # a normaliser may leave nothing of a word
    return tuple(sequences)


def suppressed_ids(tokenizer: Tokenizer, stops: Iterable[int]) -> tuple[int, ...]:
    """The control tokens that end no text; they are never generated, whatever else is allowed."""
    kept = set(stops)
    return tuple(token for token in tokenizer.control_ids.values() if token not in kept)
