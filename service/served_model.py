"""A model by name: the facts of its checkpoint, read before its weights, and its engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from models.checkpoint import CARD, CONFIG, METRICS, TOKENIZER, CheckpointError, read_config
from models.config import ModelConfig
from models.declarations import read_declarations
from models.tokenizer import Tokenizer
from service.engine.hosts.async_engine import AsyncEngine


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a checkpoint without its weights.

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
    digest: str
    chat_template: Mapping[str, Any] | None = None
    sampling_defaults: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""


@dataclass(frozen=True, kw_only=True)
class ServedModel(ModelFacts):
    """One checkpoint in service."""

    engine: AsyncEngine

    @classmethod
    def of(cls, facts: ModelFacts, engine: AsyncEngine) -> ServedModel:
        return cls(
            **{each.name: getattr(facts, each.name) for each in fields(facts)}, engine=engine
        )


def read_facts(folder: Path) -> ModelFacts:
    """The facts of a checkpoint folder, whose name is the model's. No weights are read; the engine
    verifies the digests when it does that.

    Raises CheckpointError.
    """
    folder = folder.resolve()
    config = read_config(folder)
    metrics, card = folder / METRICS, folder / CARD
    for path in (metrics, card, folder / TOKENIZER):
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise CheckpointError(f"{path} is no file")
    if not isinstance(config["digest"], str):
        raise CheckpointError(f"{folder / CONFIG} is damaged: its digest is no text")
    try:
        tokenizer = Tokenizer.from_file(folder / TOKENIZER)
        declared = read_declarations(config, tokenizer)
        template = declared.chat_template
        return ModelFacts(
            name=folder.name,
            created=int((folder / CONFIG).stat().st_mtime),
            config=ModelConfig.from_dict(config["model"]),
            tokenizer=tokenizer,
            digest=config["digest"],
            chat_template=None if template is None else template.model_dump(exclude_none=True),
            sampling_defaults=declared.sampling_defaults.model_dump(exclude_none=True),
            metrics=_read_object(metrics) if metrics.exists() else {},
            card=card.read_text("utf-8") if card.exists() else "",
        )
    except CheckpointError:
        raise
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be read: {error}") from error


def _read_object(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must hold a JSON object")
    return content
