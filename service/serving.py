"""A model as the API layer holds it: its tokenizer, its engine, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.config import ModelConfig
from models.tokenizer import Tokenizer
from service.engine.interface import AsyncEngine


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One checkpoint in service.

    name: what clients call it; created: unix time of the checkpoint's files.
    chat_template: {"roles": {"system": piece, "user": piece, "assistant": piece},
        "end_of_turn": piece}; None where the model was not trained for chat. A conversation is
        begin-of-sequence, then for each message role piece, content, end-of-turn piece.
    sampling_defaults: request fields applied where a request sets none.
    """

    name: str
    created: int
    config: ModelConfig
    tokenizer: Tokenizer
    engine: AsyncEngine
    digest: str
    chat_template: Mapping[str, Any] | None = None
    sampling_defaults: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
