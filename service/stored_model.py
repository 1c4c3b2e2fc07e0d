"""What is known of a checkpoint on disk before its weights are loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.checkpoint import CARD, CONFIG, METRICS, TOKENIZER, CheckpointError, read_config
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from service.declarations import read_declarations


class ModelFacts(Protocol):
    """A model without its engine; see `service.serving.ServedModel`, which is one."""

    @property
    def name(self) -> str: ...
    @property
    def created(self) -> int: ...
    @property
    def config(self) -> ModelConfig: ...
    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def digest(self) -> str: ...
    @property
    def chat_template(self) -> Mapping[str, Any] | None: ...
    @property
    def sampling_defaults(self) -> Mapping[str, Any]: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def card(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class StoredModel:
    """The facts of a checkpoint folder, whose name is the model's; see `ServedModel`."""

    name: str
    created: int
    config: ModelConfig
    tokenizer: Tokenizer
    digest: str
    chat_template: Mapping[str, Any] | None
    sampling_defaults: Mapping[str, Any]
    metrics: Mapping[str, Any]
    card: str


def read_stored_model(folder: Path) -> StoredModel:
    """Everything but the weights; the engine verifies the digests when it reads those.

    Raises CheckpointError.
    """
    folder = folder.resolve()
    config = read_config(folder)
    metrics, card = folder / METRICS, folder / CARD
    try:
        tokenizer = Tokenizer.from_file(folder / TOKENIZER)
        declared = read_declarations(config, tokenizer)
        template = declared.chat_template
        return StoredModel(
            name=folder.name,
            created=int((folder / CONFIG).stat().st_mtime),
            config=ModelConfig.from_dict(config["model"]),
            tokenizer=tokenizer,
            digest=config["digest"],
            chat_template=None if template is None else template.model_dump(),
            sampling_defaults=declared.sampling_defaults.model_dump(exclude_none=True),
            metrics=_read_object(metrics) if metrics.exists() else {},
            card=card.read_text("utf-8") if card.exists() else "",
        )
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be read: {error}") from error


def _read_object(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} must hold a JSON object")
    return content
