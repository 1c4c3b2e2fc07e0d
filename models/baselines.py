"""What came before the LSTM, behind the same interface, so that each claim can be measured.

- `WindowMLPLanguageModel`: the fixed-window network of Bengio et al. 2003.
- `ElmanLanguageModel`: the tanh RNN of Elman 1990 and Mikolov et al. 2010.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ModelConfig
from models.lstm import (
    NO_NOISE,
    LSTMLanguageModel,
    Noise,
    adaptive_logits,
    init_embedding,
    init_input_weight,
    new_output,
    oracle_generate,
    oracle_score,
)


@dataclass(frozen=True)
class ElmanState:
    """Per layer, h of shape (B, H_layer)."""

    h: tuple[Tensor, ...]

    def detach(self) -> ElmanState:
        return ElmanState(tuple(t.detach() for t in self.h))


@dataclass(frozen=True)
class WindowState:
    """The last `window - 1` embedded tokens, (window - 1, B, E); zeros where there was none."""

    past: Tensor

    def detach(self) -> WindowState:
        return WindowState(self.past.detach())


class ElmanLayer(nn.Module):
    """h_t = tanh(W_ih x_t + W_hh h_{t-1} + b)."""

    def __init__(self, input_size: int, hidden_size: int, layer: int = 0) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        init_input_weight(self.weight_ih, layer)
        nn.init.orthogonal_(self.weight_hh)

    def forward(
        self, x: Tensor, h: Tensor, weight_hh: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(T, B, I) -> (T, B, H), h_T. The input product is taken for all steps at once.

        weight_hh: the recurrent matrix to use in place of the layer's own.
        """
        recurrent, outputs = self.weight_hh if weight_hh is None else weight_hh, []
        for projected in F.linear(x, self.weight_ih, self.bias):
            h = torch.tanh(projected + F.linear(h, recurrent))
            outputs.append(h)
        return torch.stack(outputs), h


class _Baseline(nn.Module, ABC):
    """Embedding, softmax, and the plain oracle that every architecture shares."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        init_embedding(self.embedding.weight)
        if not config.tie_weights:
            self.output = new_output(config)

    @property
    def output_weight(self) -> Tensor:
        if self.config.tie_weights:
            return self.embedding.weight
        assert isinstance(self.output, nn.Linear)
        return self.output.weight

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The memory of nothing."""

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """(B,) ids -> (B, V) log-probabilities of what follows."""
        features, state = self(ids[None], state)
        return torch.log_softmax(self.logits(features[0]), dim=-1), state

    def logits(self, features: Tensor) -> Tensor:
        if self.config.adaptive_cutoffs:
            return adaptive_logits(self.output, features)
        return F.linear(features, self.output_weight)

    def score(self, ids: Sequence[int], state: Any = None) -> list[float]:
        """As `LSTMLanguageModel.score`."""
        return oracle_score(self, ids, state)

    def generate(
        self,
        ids: Sequence[int],
        max_tokens: int,
        *,
        choose: Callable[[Tensor], int] = lambda logprobs: int(logprobs.argmax()),
        stop_ids: Sequence[int] = (),
    ) -> list[int]:
        """As `LSTMLanguageModel.generate`."""
        return oracle_generate(self, ids, max_tokens, choose=choose, stop_ids=stop_ids)


class ElmanLanguageModel(_Baseline):
    """Stacked tanh RNN with the LSTM model's embedding, skip connections and softmax."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        sizes = zip(config.input_sizes, config.hidden_sizes, strict=True)
        self.layers = nn.ModuleList(ElmanLayer(i, h, k) for k, (i, h) in enumerate(sizes))

    def initial_state(self, batch_size: int) -> ElmanState:
        sizes = self.config.hidden_sizes
        return ElmanState(tuple(self.embedding.weight.new_zeros(batch_size, s) for s in sizes))

    def forward(
        self, ids: Tensor, state: ElmanState, noise: Noise = NO_NOISE
    ) -> tuple[Tensor, ElmanState]:
        """(T, B) ids -> (T, B, H_last) features, and the state after them."""
        x, hs = noise.embedding(self.embedding(ids), ids), []
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, ElmanLayer)
            x = noise.layer_input(x, k)
            y, h = layer(x, state.h[k], noise.recurrent(layer.weight_hh))
            x = y + x if self.config.has_skip(k) else y
            hs.append(h)
        return x, ElmanState(tuple(hs))


class WindowMLPLanguageModel(_Baseline):
    """The last `window` embeddings side by side -> tanh layers -> softmax; no weight is shared
    between positions, so the first layer grows with the window (Bengio et al. 2003)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(
            nn.Linear(i, h) for i, h in zip(config.input_sizes, config.hidden_sizes, strict=True)
        )
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            init_input_weight(layer.weight, k)

    def initial_state(self, batch_size: int) -> WindowState:
        shape = (self.config.window - 1, batch_size, self.config.embedding_size)
        return WindowState(self.embedding.weight.new_zeros(shape))

    def forward(
        self, ids: Tensor, state: WindowState, noise: Noise = NO_NOISE
    ) -> tuple[Tensor, WindowState]:
        """(T, B) ids -> (T, B, H_last) features, and the state after them."""
        embedded = noise.embedding(self.embedding(ids), ids)
        past = torch.cat([state.past.to(embedded.dtype), embedded])
        windows = past.unfold(0, self.config.window, 1)  # (T, B, E, window)
        x = windows.transpose(2, 3).flatten(2)
        for k, layer in enumerate(self.layers):
            x = noise.layer_input(x, k)
            y = torch.tanh(layer(x))
            x = y + x if self.config.has_skip(k) else y
        return x, WindowState(past[len(ids) :])


LanguageModel = LSTMLanguageModel | ElmanLanguageModel | WindowMLPLanguageModel


def build_model(config: ModelConfig) -> LanguageModel:
    """The network that `config.architecture` names, freshly initialised."""
    classes: dict[str, type[LanguageModel]] = {
        "lstm": LSTMLanguageModel,
        "elman": ElmanLanguageModel,
        "window_mlp": WindowMLPLanguageModel,
    }
    return classes[config.architecture](config)
