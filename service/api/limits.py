"""Refusing what is too much, before any of it is computed."""

from __future__ import annotations

from collections.abc import Sequence

from models.tokenizer import Tokenizer
from service.api.errors import ApiError, invalid


def check_count(param: str, count: int, limit: int, things: str) -> None:
    """Refuse more than `limit` of `things`."""
    if count > limit:
        raise too_many(param, count, limit, things)


def too_many(param: str, count: int, limit: int, things: str) -> ApiError:
    """The refusal itself."""
    return invalid(param, f"{count} {things}, the limit is {limit}", code="limit_exceeded")


def check_token_ids(param: str, ids: Sequence[int], tokenizer: Tokenizer) -> None:
    """Refuse ids that are not in the vocabulary, naming the first."""
    for index, token_id in enumerate(ids):
        if not 0 <= token_id < tokenizer.vocab_size:
            raise invalid(
                f"{param}.{index}",
                f"token id {token_id} is not in 0..{tokenizer.vocab_size - 1}",
            )
