"""What serving in int8 costs a model, measured without the service: its arithmetic, in torch.

Weights have one int8 scale a row, activations one a layer; products are exact integer sums, all
else is float32. Layer 0's input product is float32, since the service takes it from a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from models.activation_scales import calibrate
from models.checkpoint import Checkpoint
from models.config import ModelConfig
from models.weights import quantize_rows
from training.data import Position, TokenStreams
from training.evaluate import model_of

_LARGEST_EXACT = 1 << 24  # integers that float32 holds without rounding
_MEASURED_STEPS = 512


@dataclass(frozen=True)
class IntegerProduct:
    """x (B, I) -> (B, O): both sides as integers, their sums exact, then scaled."""

    weight: Tensor  # (O, I), integers
    scales: Tensor  # (O,)
    step: float  # of x

    @classmethod
    def of(cls, matrix: Tensor, step: float) -> IntegerProduct:
        """matrix: (O, I) in float32."""
        integers, scales = quantize_rows(matrix.numpy())
        exact = matrix.shape[1] * 127 * 128 < _LARGEST_EXACT
        weight = torch.from_numpy(integers).to(torch.float32 if exact else torch.float64)
        return cls(weight, torch.from_numpy(scales), step)

    def __call__(self, x: Tensor) -> Tensor:
        integers = torch.round(x / self.step).clamp_(-128, 127).to(self.weight.dtype)
        return (integers @ self.weight.T).float() * (self.scales * self.step)


def has_int8_form(config: ModelConfig) -> bool:
    """Whether the service can compute a network in int8."""
    return config.architecture == "lstm" and not config.adaptive_cutoffs


class Int8Model:
    """An LSTM checkpoint as the service computes it in int8."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """ValueError where the service has no int8 form of the network."""
        config = self.config = checkpoint.model
        if not has_int8_form(config):
            raise ValueError("int8 is served of LSTM networks with an ordinary softmax only")
        scales = calibrate(config, checkpoint.weights)
        weights = {k: torch.from_numpy(v) for k, v in checkpoint.weights.items()}
        layers = range(config.num_layers)
        self.embedding = weights["embedding.weight"]
        self.first = weights["layers.0.weight_ih"]
        self.biases = [weights[f"layers.{k}.bias"] for k in layers]
        self.recurrent = [
            IntegerProduct.of(weights[f"layers.{k}.weight_hh"], scales.hidden[k]) for k in layers
        ]
        self.inputs = [
            IntegerProduct.of(weights[f"layers.{k}.weight_ih"], scales.inputs[k])
            for k in layers[1:]
        ]
        output = weights["embedding.weight" if config.tie_weights else "output.weight"]
        self.head = IntegerProduct.of(output, scales.inputs[-1])

    @torch.no_grad()
    def losses(self, ids: Tensor) -> Tensor:
        """-ln P of ids[1:] (T, B), in nats, for ids (T + 1, B), from no history on."""
        h = [self.embedding.new_zeros(ids.shape[1], size) for size in self.config.hidden_sizes]
        c, losses = list(h), []
        for now, following in pairwise(ids):
            x = self.embedding[now]
            for k in range(self.config.num_layers):
                entering = self.inputs[k - 1](x) if k else x @ self.first.T
                gates = self.recurrent[k](h[k]) + (entering + self.biases[k])
                i, f, g, o = gates.chunk(4, dim=1)
                c[k] = torch.sigmoid(f) * c[k] + torch.sigmoid(i) * torch.tanh(g)
                h[k] = torch.sigmoid(o) * torch.tanh(c[k])
                x = h[k] + x if self.config.has_skip(k) else h[k]
            losses.append(F.cross_entropy(self.head(x), following, reduction="none"))
        return torch.stack(losses)


def int8_relative_loss(checkpoint: Checkpoint, ids: Tensor) -> float:
    """How much larger the loss on ids (T + 1, B) is in int8 than in float32, relative to it."""
    model = model_of(checkpoint)
    with torch.no_grad():
        features, _ = model(ids[:-1], model.initial_state(ids.shape[1]))
        logits = model.logits(features).flatten(0, 1)
        exact = F.cross_entropy(logits, ids[1:].flatten(), reduction="sum")
    return float(Int8Model(checkpoint).losses(ids).double().sum() / exact.double() - 1)


def sample_ids(data: TokenStreams) -> Tensor:
    """Ids (T, B) to measure on: the beginnings of the streams, up to 512 steps each.

    Inputs alone: where a loss is masked, a window's targets are only those that count.
    """
    data.position = Position()
    return torch.from_numpy(data.window(_MEASURED_STEPS).inputs)
