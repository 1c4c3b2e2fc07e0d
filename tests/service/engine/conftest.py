"""Kernels over small networks, built once, and a checkpoint that engines can load."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.checkpoint import Checkpoint, save_checkpoint
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.small_models import SHAPES, Oracle, random_weights

MAX_ROWS = 6


@pytest.fixture(scope="session", params=["tied", "skips"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return SHAPES[request.param]


@pytest.fixture(scope="session")
def oracle(config: ModelConfig) -> Oracle:
    return Oracle(config, random_weights(config))


@pytest.fixture(scope="session")
def runner(config: ModelConfig) -> OnnxRunner:
    weights = random_weights(config)
    return OnnxRunner(config, weights, arithmetic="fp32", max_rows=MAX_ROWS)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    """Folder of a tiny model with random weights."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    model = ModelConfig(vocab_size=tokenizer.vocab_size, embedding_size=12, hidden_sizes=(20, 12))
    save_checkpoint(
        Checkpoint(model=model, weights=random_weights(model), tokenizer=tokenizer), folder
    )
    return folder
