"""int8 steps of an LSTM's activations, found on a fixed walk through the vocabulary; and whether
what that arithmetic costs is worth it.

The engine computes with them, and training measures with them what that costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.config import ModelConfig
from models.weights import Weights

# In metrics.json: what int8 arithmetic costs in bits per byte, relative to float32.
INT8_LOSS_METRIC = "int8_relative_loss"
LARGEST_INT8_LOSS = 0.001  # up to this, `precision=auto` serves int8
_STEPS, _ROWS = 32, 8
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ActivationScales:
    """int8 steps: of each layer's h, and of what enters each layer and the softmax."""

    hidden: tuple[float, ...]
    inputs: tuple[float, ...]  # num_layers + 1 entries; the first is unused: a table in float32


def activation_scale(largest: float) -> float:
    """int8 step for activations whose magnitude was seen to reach `largest`.

    A power of two with room to spare, over 127: coarse enough that float noise in the calibration
    cannot change it from one machine to the next.
    """
    bound = 2.0 ** math.ceil(math.log2(max(largest * 1.25, 2.0**-16)))
    return bound / 127


def calibrate(config: ModelConfig, weights: Weights) -> ActivationScales:
    """Steps from the largest magnitudes of an LSTM's h and layer inputs on the walk."""
    draw = np.random.default_rng(0)
    h = [np.zeros((_ROWS, size), np.float32) for size in config.hidden_sizes]
    c = [np.zeros_like(part) for part in h]
    largest_h, largest_x = np.zeros(config.num_layers), np.zeros(config.num_layers)
    for _ in range(_STEPS):
        x: Floats = weights["embedding.weight"][draw.integers(config.vocab_size, size=_ROWS)]
        for k in range(config.num_layers):
            gates = h[k] @ weights[f"layers.{k}.weight_hh"].T + weights[f"layers.{k}.bias"]
            gates += x @ weights[f"layers.{k}.weight_ih"].T
            i, f, g, o = np.split(gates, 4, axis=1)
            c[k] = _sigmoid(f) * c[k] + _sigmoid(i) * np.tanh(g)
            h[k] = _sigmoid(o) * np.tanh(c[k])
            x = h[k] + x if config.has_skip(k) else h[k]
            largest_h[k] = max(largest_h[k], float(np.abs(h[k]).max()))
            largest_x[k] = max(largest_x[k], float(np.abs(x).max()))
    hidden = tuple(activation_scale(min(float(size), 0.8)) for size in largest_h)  # |h| < 1
    # Sums through skip connections are unbounded: they get twice the room.
    inputs = (
        activation_scale(2 * float(largest_x[k])) if config.residual else hidden[k]
        for k in range(config.num_layers)
    )
    return ActivationScales(hidden, (1.0, *inputs))


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 0.5 * (1 + np.tanh(0.5 * x))
    return result


def int8_is_negligible(metrics: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's measured loss by int8 arithmetic is small; False if unmeasured."""
    loss = metrics.get(INT8_LOSS_METRIC)
    return isinstance(loss, int | float) and abs(loss) < LARGEST_INT8_LOSS
