"""A wider network that says just what the narrower one said: Net2WiderNet for an LSTM.

Chen et al. 2016 split units; here new ones are added that nothing listens to yet. They begin as in
a fresh network, and the weights by which the old units and the next layer would hear them are zero,
so that every probability stays the same until training moves them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.architectures import build_model
from models.checkpoint import Checkpoint
from models.config import ModelConfig
from models.weights import Weights

Matrix = NDArray[np.float32]


def widen(checkpoint: Checkpoint, hidden_sizes: Sequence[int]) -> Checkpoint:
    """The checkpoint with layers of `hidden_sizes`, none narrower than it was; stored as float32.

    ValueError where that cannot be. The new units' own weights are drawn by torch's generator.
    """
    old = checkpoint.model
    _check(old, hidden_sizes)
    config = dataclasses.replace(old, hidden_sizes=tuple(hidden_sizes))
    fresh = {k: v.detach().numpy() for k, v in build_model(config).state_dict().items()}
    weights: Weights = {k: v.copy() for k, v in checkpoint.weights.items()}
    for layer in range(old.num_layers):
        for name in ("weight_ih", "weight_hh", "bias"):
            key = f"layers.{layer}.{name}"
            weights[key] = _widened(weights[key], fresh[key])
    return dataclasses.replace(checkpoint, model=config, weights=weights, storage="float32")


def _check(old: ModelConfig, hidden_sizes: Sequence[int]) -> None:
    if old.architecture != "lstm" or old.residual:
        raise ValueError("only an LSTM without skip connections can be widened")
    before = list(old.hidden_sizes)
    same_depth = len(hidden_sizes) == len(before)
    if not same_depth or any(new < was for new, was in zip(hidden_sizes, before, strict=True)):
        raise ValueError(
            f"hidden_sizes {list(hidden_sizes)} must be as many as {before}, and none smaller"
        )
    if hidden_sizes[-1] != before[-1]:
        raise ValueError(
            f"the last layer feeds the softmax and must stay {before[-1]} wide, not "
            f"{hidden_sizes[-1]}"
        )


def _widened(old: Matrix, fresh: Matrix) -> Matrix:
    """Old rows and columns gate by gate; new rows as in `fresh`; old rows' new columns zero."""
    gates = []
    for before, after in zip(np.split(old, 4), np.split(fresh, 4), strict=True):
        gate = after.copy()
        rows = len(before)
        if gate.ndim == 2:
            gate[:rows] = 0
            gate[:rows, : before.shape[1]] = before
        else:
            gate[:rows] = before
        gates.append(gate)
    return np.concatenate(gates)
