"""Small networks of every shape that is served, and the oracle: the equations, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from models.checkpoint import expected_shapes
from models.config import ModelConfig
from models.lstm import LSTMLanguageModel, LSTMState
from models.weights import Weights
from service.engine.runners.base import StateLayout
from service.engine_state import EngineState

Doubles = NDArray[np.float64]

SHAPES = {
    "tied": ModelConfig(vocab_size=61, embedding_size=24, hidden_sizes=(40, 24)),
    "one layer": ModelConfig(vocab_size=50, embedding_size=16, hidden_sizes=(16,)),
    "free softmax": ModelConfig(
        vocab_size=70, embedding_size=13, hidden_sizes=(32, 19), tie_weights=False
    ),
    "skips": ModelConfig(
        vocab_size=64, embedding_size=20, hidden_sizes=(20, 20, 20), residual=True
    ),
    "a skip that is not the last": ModelConfig(
        vocab_size=64, embedding_size=20, hidden_sizes=(20, 28, 20), residual=True
    ),
    "a skip that is not the first": ModelConfig(
        vocab_size=33, embedding_size=8, hidden_sizes=(24, 24), residual=True, tie_weights=False
    ),
}


def random_weights(config: ModelConfig, seed: int = 0, spread: float = 1.0) -> Weights:
    """Matrices that carry signals of about `spread` from layer to layer."""
    draw = np.random.default_rng(seed)
    weights = {}
    for name, shape in expected_shapes(config).items():
        scale = 0.2 if len(shape) == 1 else spread / np.sqrt(shape[1])
        weights[name] = (scale * draw.standard_normal(shape)).astype(np.float32)
    return weights


@dataclass(frozen=True)
class History:
    """Of a sequence of T tokens: ln P (T + 1, V) of what follows, and states (T + 1, S).

    Entry t is after t tokens; the first one is NaN where there was no start state.
    """

    logprobs: Doubles
    states: Doubles

    def scores(self, ids: Sequence[int]) -> Doubles:
        """ln P of each token, (T,)."""
        result: Doubles = self.logprobs[np.arange(len(ids)), list(ids)]
        return result


@dataclass(frozen=True)
class Oracle:
    """`LSTMLanguageModel` in double precision, fed one token at a time."""

    config: ModelConfig
    weights: Weights

    @cached_property
    def model(self) -> LSTMLanguageModel:
        model = LSTMLanguageModel(self.config).double().eval()
        model.load_state_dict({name: torch.from_numpy(w) for name, w in self.weights.items()})
        return model

    @torch.no_grad()
    def read(self, ids: Sequence[int], start: EngineState | None = None) -> History:
        layout = StateLayout.of(self.config)
        vector = np.zeros(layout.size) if start is None else start.vector.astype(np.float64)
        parts = layout.slices()
        h, c = (
            tuple(
                torch.from_numpy(vector[parts[f"{kind}{k}"]])[None]
                for k in range(self.config.num_layers)
            )
            for kind in "hc"
        )
        state, features = LSTMState(h, c), torch.from_numpy(vector[parts["features"]])[None]
        logprobs = [self._logprobs(features)]
        if start is None:
            logprobs[0][:] = np.nan
        states = [vector]
        for token in ids:
            output, state = self.model(torch.tensor([[token]]), state)
            features = output[0]
            logprobs.append(self._logprobs(features))
            states.append(self._vector(state, features, layout))
        return History(np.stack(logprobs), np.stack(states))

    def _logprobs(self, features: torch.Tensor) -> Doubles:
        logprobs: Doubles = torch.log_softmax(self.model.logits(features), dim=-1)[0].numpy()
        return logprobs

    def _vector(self, state: LSTMState, features: torch.Tensor, layout: StateLayout) -> Doubles:
        parts = [part for pair in zip(state.h, state.c, strict=True) for part in pair]
        if layout.features_apart:
            parts.append(features)
        vector: Doubles = torch.cat([part[0] for part in parts]).numpy()
        return vector
