"""Kernels over small networks, built once."""

from __future__ import annotations

import pytest

from models.config import ModelConfig
from service.engine.onnx_runner import OnnxRunner
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
