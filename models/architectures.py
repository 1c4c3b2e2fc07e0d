"""From the name of an architecture to its network."""

from __future__ import annotations

from models.baselines import ElmanLanguageModel, WindowMLPLanguageModel
from models.config import ModelConfig
from models.language_model import LanguageModel
from models.lstm import LSTMLanguageModel


def build_model(config: ModelConfig) -> LanguageModel:
    """The network that `config.architecture` names, freshly initialised."""
    classes: dict[str, type[LanguageModel]] = {
        "lstm": LSTMLanguageModel,
        "elman": ElmanLanguageModel,
        "window_mlp": WindowMLPLanguageModel,
    }
    return classes[config.architecture](config)
