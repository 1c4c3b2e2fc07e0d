"""Each experiment returns numbers; what was expected of them stands on the page."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.architectures import build_model
from models.baselines import ElmanLanguageModel, ElmanLayer
from models.config import Architecture, ModelConfig
from models.language_model import NO_NOISE, LanguageModel, Noise
from models.lstm import LSTMLanguageModel, LSTMState
from training.diagnostics import gradient_reach
from training.study.material import Material

REACH_STEPS = 128
_UPDATE_TOKENS = 512


def first_layer_parameters() -> dict[str, int]:
    """Of networks of width 100 that see 100 steps: without and with weights shared over time."""

    def count(architecture: Architecture) -> int:
        config = ModelConfig(
            architecture=architecture,
            vocab_size=1000,
            embedding_size=100,
            hidden_sizes=(100,),
            window=100,
        )
        return sum(p.numel() for p in build_model(config).layers.parameters())

    return {"window MLP": count("window_mlp"), "RNN": count("elman")}


class TimeSkipLayer(ElmanLayer):
    """h_t = h_{t-1} + a tanh(W_ih x_t + W_hh h_{t-1} + b): a path through time without a weight."""

    share = 0.1

    def forward(
        self, x: Tensor, h: Tensor, weight_hh: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        recurrent, outputs = self.weight_hh if weight_hh is None else weight_hh, []
        for projected in F.linear(x, self.weight_ih, self.bias):
            h = h + self.share * torch.tanh(projected + F.linear(h, recurrent))
            outputs.append(h)
        return torch.stack(outputs), h


def time_skip_model(config: ModelConfig) -> LanguageModel:
    """An Elman network whose state skips from step to step."""
    model = ElmanLanguageModel(config)
    layer = TimeSkipLayer(config.input_sizes[0], config.hidden_sizes[0])
    model.layers = torch.nn.ModuleList([layer])
    return model


def plain_start(model: LanguageModel) -> LanguageModel:
    """The same network with a recurrent matrix as most libraries draw it."""
    for layer in model.layers:
        assert isinstance(layer, ElmanLayer)
        bound = 1 / math.sqrt(len(layer.weight_hh))
        torch.nn.init.uniform_(layer.weight_hh, -bound, bound)
    return model


def reaches(material: Material, trained: dict[str, LanguageModel]) -> dict[str, list[float]]:
    """Gradient reach of fresh networks, and of those that were trained on the text."""
    torch.manual_seed(0)
    models = {
        "tanh RNN": plain_start(material.model("elman")),
        "RNN, orthogonal start": material.model("elman"),
        "RNN, skips through time": time_skip_model(material.shape("elman")),
        "LSTM": material.model("lstm"),
        "RNN, trained": trained["Elman RNN"],
        "LSTM, trained": trained["LSTM"],
    }
    config = material.config(loop={"batch_size": 16})
    window = material.streams(material.valid, config).window(REACH_STEPS)
    ids = torch.cat([torch.from_numpy(window.inputs), torch.from_numpy(window.targets[-16:])[None]])
    return {name: gradient_reach(model, ids) for name, model in models.items()}


@dataclass(frozen=True)
class Explosion:
    """Losses and gradient norms by step, until the run ends or is no number any more."""

    losses: list[float]
    norms: list[float]


def exploding_run(material: Material, clip: float, steps: int) -> Explosion:
    """An RNN whose recurrent matrix stretches by 2, trained with a large rate."""
    config = material.config(
        optimizer={"name": "sgd", "lr": 4.0, "schedule": "constant", "warmup_tokens": 0}
        | {"clip": clip},
    )
    model = material.model("elman")
    for layer in model.layers:
        assert isinstance(layer, ElmanLayer)
        layer.weight_hh.data *= 2
    learner = material.learner(model, config)
    result = Explosion([], [])
    for _ in range(steps):
        loss, norm = (float(x.detach()) for x in learner.step())
        if not math.isfinite(loss) or not math.isfinite(norm):
            break
        result.losses.append(loss)
        result.norms.append(norm)
    return result


@dataclass(frozen=True)
class Trained:
    """What a network reached on the text with its budget."""

    parameters: int
    perplexity: float  # of the validation text, a token
    seconds: float
    model: LanguageModel


def train_for(material: Material, model: LanguageModel, tokens: int, *, bptt: int = 32) -> Trained:
    """Train on `tokens` tokens and measure."""
    # As many tokens an update, and so as many updates, whatever the window's length.
    batch_size = _UPDATE_TOKENS // bptt
    config = material.config(loop={"max_tokens": tokens, "bptt": bptt, "batch_size": batch_size})
    learner = material.learner(model, config)
    began = time.monotonic()
    while learner.state.progress.tokens < tokens:
        learner.step()
    seconds = time.monotonic() - began
    loss = learner.measure(material.streams(material.valid, config), limit=1 << 40)
    return Trained(sum(p.numel() for p in model.parameters()), math.exp(loss), seconds, model)


def compare(material: Material, tokens: int) -> dict[str, Trained]:
    """Window MLP, Elman RNN and LSTM on the same text for the same number of tokens."""
    models: dict[str, LanguageModel] = {
        "window MLP (8 tokens)": material.model("window_mlp", window=8),
        "Elman RNN": material.model("elman"),
        "LSTM": material.model("lstm"),
    }
    return {name: train_for(material, model, tokens) for name, model in models.items()}


class TruncatedLSTM(LSTMLanguageModel):
    """The same network, with the gradient cut every `steps` steps and the state carried on."""

    def __init__(self, config: ModelConfig, steps: int) -> None:
        super().__init__(config)
        self.steps = steps

    def forward(
        self, ids: Tensor, state: LSTMState, noise: Noise = NO_NOISE
    ) -> tuple[Tensor, LSTMState]:
        parts = []
        for chunk in torch.split(ids, self.steps):
            features, state = super().forward(chunk, state.detach(), noise)
            parts.append(features)
        return torch.cat(parts), state


def truncations(material: Material, lengths: Sequence[int], tokens: int) -> dict[int, Trained]:
    """LSTMs that differ in nothing but how far a gradient goes back.

    All see the same windows, as long as the longest of `lengths`, in the same order.
    """
    results = {}
    for k in lengths:
        torch.manual_seed(0)
        model = TruncatedLSTM(material.shape("lstm"), k)
        results[k] = train_for(material, model, tokens, bptt=max(lengths))
    return results


def gradient_agreement(
    material: Material, model: LanguageModel, lengths: Sequence[int], steps: int
) -> dict[int, float]:
    """Cosine between the gradient of truncated and of full back-propagation over `steps` steps.

    Of the recurrent matrix, for the mean loss of all steps; state carried across windows.
    """
    config = material.config()
    window = material.streams(material.valid, config).window(steps)
    ids = torch.from_numpy(window.inputs)
    targets = torch.from_numpy(window.targets).reshape(ids.shape)
    full = _recurrent_gradient(model, ids, targets, len(ids))
    return {
        k: float(F.cosine_similarity(_recurrent_gradient(model, ids, targets, k), full, dim=0))
        for k in lengths
    }


def _recurrent_gradient(model: LanguageModel, ids: Tensor, targets: Tensor, bptt: int) -> Tensor:
    (weight,) = (p for name, p in model.named_parameters() if name.endswith("weight_hh"))
    total, state = torch.zeros_like(weight), model.initial_state(ids.shape[1])
    for start in range(0, len(ids), bptt):
        features, state = model(ids[start : start + bptt], state.detach())
        logits = model.logits(features).flatten(0, 1)
        loss = F.cross_entropy(logits, targets[start : start + bptt].flatten(), reduction="sum")
        total += torch.autograd.grad(loss, weight)[0]
    return total.flatten()
