"""The public face: a language model in this process, its tokenizer, its checkpoint.

    from lstm_serve import LanguageModel, train, adapt, evaluate

Loaded when first used, so that what needs no engine does not wait for one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.checkpoint import load_checkpoint
    from models.tokenizer import Tokenizer
    from service.language_model import LanguageModel
    from training.api import adapt, evaluate, train

__all__ = ["LanguageModel", "Tokenizer", "adapt", "evaluate", "load_checkpoint", "train"]

_HOMES = {
    "LanguageModel": "service.language_model",
    "Tokenizer": "models.tokenizer",
    "adapt": "training.api",
    "evaluate": "training.api",
    "load_checkpoint": "models.checkpoint",
    "train": "training.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lstm_serve' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
