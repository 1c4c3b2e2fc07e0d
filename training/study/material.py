"""What the experiments share: a text, its tokens, models of one size, and a learner for each."""

from __future__ import annotations

import pydoc_data.topics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.architectures import build_model
from models.config import Architecture, ModelConfig
from models.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.config import TrainConfig, parse_config
from training.corpus import parse_source, read_lines
from training.data import TokenStreams
from training.distributed import Workers
from training.learner import Learner
from training.shards import Shard, write_shard

ALONE = Workers(0, 1, torch.device("cpu"))
WIDTH = 128


@dataclass(frozen=True)
class Material:
    """A text as shards: of every 500 lines, 450 for training and 50 for validation."""

    name: str
    tokenizer: Tokenizer
    train: Shard
    valid: Shard

    @classmethod
    def prepare(cls, folder: Path, text: Path | None, vocab_size: int) -> Material:
        """From `text`, or from the manual that comes with every Python."""
        lines = _manual() if text is None else list(read_lines(text))
        name = "the Python language manual" if text is None else text.name
        parts: dict[str, list[str]] = {"train": [], "valid": []}
        for number, line in enumerate(lines):
            parts["valid" if number % 500 >= 450 else "train"].append(line)
        tokenizer = Tokenizer.train(parts["train"], vocab_size=vocab_size)
        shards = {}
        for part, chosen in parts.items():
            path = folder / f"{part}.txt"
            path.write_text("\n".join(chosen) + "\n", encoding="utf-8")
            shards[part] = write_shard(
                [parse_source(str(path))], tokenizer, folder / f"{part}.tokens"
            )
        return cls(name, tokenizer, shards["train"], shards["valid"])

    def config(self, **sections: dict[str, Any]) -> TrainConfig:
        """The settings that all experiments begin from, with changes."""
        base: dict[str, dict[str, Any]] = {
            "model": {"embedding_size": WIDTH, "hidden_sizes": [WIDTH]},
            "optimizer": {"lr": 4e-3, "warmup_tokens": 20_000, "clip": 0.5},
            "loop": {
                "batch_size": 16,
                "bptt": 32,
                "max_tokens": 30_000_000,
                "precision": "float32",
            },
            # None on the input: it draws a mask for each piece that a network is run over.
            "regularization": {"output_dropout": 0.2},
        }
        for name, values in sections.items():
            base.setdefault(name, {}).update(values)
        return parse_config(base)

    def shape(self, architecture: Architecture, **changes: Any) -> ModelConfig:
        """Of a network of the common width."""
        values: dict[str, Any] = {"embedding_size": WIDTH, "hidden_sizes": (WIDTH,)} | changes
        return ModelConfig(
            architecture=architecture, vocab_size=self.tokenizer.vocab_size, **values
        )

    def model(self, architecture: Architecture, **changes: Any) -> LanguageModel:
        """A fresh network, the same one every time."""
        torch.manual_seed(0)
        return build_model(self.shape(architecture, **changes))

    def learner(self, model: LanguageModel, config: TrainConfig) -> Learner:
        return Learner(config, model, self.streams(self.train, config), ALONE)

    def streams(self, shard: Shard, config: TrainConfig) -> TokenStreams:
        return TokenStreams(shard, config.loop.batch_size, config.loop.seed)


def _manual() -> list[str]:
    topics = pydoc_data.topics.topics
    return [line.strip() for name in sorted(topics) for line in topics[name].split("\n")]
