"""The shape that speed is quoted for, with random weights, and engines that run it."""

from __future__ import annotations

import numpy as np

from models.checkpoint import expected_shapes
from models.config import ModelConfig
from models.weights import Weights
from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineOptions
from service.engine.runners.base import ModelRunner
from service.engine.runners.onnx_graph import Arithmetic
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache

MODEL_S = ModelConfig(vocab_size=8192, embedding_size=512, hidden_sizes=(512, 512))

# A wrong engine may be as fast as it likes. An int8 one is off by a few thousandths of a nat.
TOLERANCE_NATS = {"int8": 0.05, "fp32": 1e-3}
_CACHE_BYTES = 64 << 20


def random_weights(config: ModelConfig, seed: int = 0) -> Weights:
    """Weights of a trained model's magnitudes: gates neither idle nor saturated."""
    draw = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in expected_shapes(config).items():
        if name in ("embedding.weight", "output.weight"):
            values = draw.normal(0, 0.1, shape)
        else:
            bound = 1.7 / np.sqrt(config.hidden_sizes[int(name.split(".")[1])])
            values = draw.uniform(-bound, bound, shape)
        weights[name] = values.astype(np.float32)
    return weights


def build_runner(
    config: ModelConfig, weights: Weights, *, precision: Arithmetic, rows: int, threads: int
) -> ModelRunner:
    """The kernel that serving on a CPU uses."""
    return OnnxRunner(config, weights, arithmetic=precision, max_rows=rows, threads=threads)


def new_engine(runner: ModelRunner) -> Engine:
    """An engine that has seen nothing: its cache is cold, which serving's would often not be."""
    return Engine(
        runner, Scheduler(runner.max_rows), StateCache(_CACHE_BYTES), burst_s=EngineOptions.burst_s
    )


def check_error(error_nats: float, precision: Arithmetic) -> float:
    """The error, which must be that of the arithmetic; raises RuntimeError for a wrong engine."""
    limit = TOLERANCE_NATS[precision]
    if not error_nats <= limit:
        raise RuntimeError(
            f"the engine's log-probabilities are {error_nats:.2g} nats off nn.LSTM's, more than "
            f"{limit} for {precision}: its speed means nothing"
        )
    return error_nats
