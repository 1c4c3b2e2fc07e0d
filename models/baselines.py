"""What came before the LSTM, behind the same interface, so that each claim can be measured.

- `WindowMLPLanguageModel`: the fixed-window network of Bengio et al. 2003.
- `ElmanLanguageModel`: the tanh RNN of Elman 1990 and Mikolov et al. 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ModelConfig
from models.language_model import NO_NOISE, LanguageModel, Noise, init_input_weight


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


class ElmanLanguageModel(LanguageModel):
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


class WindowMLPLanguageModel(LanguageModel):
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
