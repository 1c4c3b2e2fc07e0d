"""Random weights, and the engine as the benchmarks drive it."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.model_s import build_runner, check_error, new_engine, random_weights
from benchmarks.streams import generate, stream_requests
from models.checkpoint import expected_shapes
from models.config import ModelConfig
from service.engine.request import SamplingParams
from service.engine.runners.base import ModelRunner

CONFIG = ModelConfig(vocab_size=64, embedding_size=16, hidden_sizes=(16, 16))


@pytest.fixture(scope="module")
def runner() -> ModelRunner:
    return build_runner(CONFIG, random_weights(CONFIG), precision="fp32", rows=8, threads=1)


def test_weights_fit_the_shape_and_come_again() -> None:
    weights = random_weights(CONFIG, seed=3)
    assert {name: w.shape for name, w in weights.items()} == expected_shapes(CONFIG)
    again, other = random_weights(CONFIG, seed=3), random_weights(CONFIG, seed=4)
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    assert not any(np.array_equal(weights[name], other[name]) for name in weights)


def test_streams_run_to_their_length(runner: ModelRunner) -> None:
    requests = stream_requests([[1], [2], [3, 4]], SamplingParams(max_tokens=7))
    assert len({request.sampling.seed for request in requests if request.sampling}) == 3
    assert generate(new_engine(runner), requests) == 21


def test_a_stream_cut_short_is_an_error(runner: ModelRunner) -> None:
    sampling = SamplingParams(max_tokens=50, stop_token_ids=tuple(range(64)))
    with pytest.raises(RuntimeError, match="generated 1 tokens where 50"):
        generate(new_engine(runner), stream_requests([[1]], sampling))


@pytest.mark.parametrize("error", [0.06, float("nan")])
def test_a_wrong_engine_has_no_speed(error: float) -> None:
    assert check_error(0.04, "int8") == 0.04
    with pytest.raises(RuntimeError, match="its speed means nothing"):
        check_error(error, "int8")
