"""The LSTM language model.

Equations (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000):

    i, f, g, o = split(W_ih x_t + W_hh h_{t-1} + b)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

Tensors are time-major: ids are (T, B), features (T, B, H).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.language_model import NO_NOISE, LanguageModel, Noise, init_input_weight


@dataclass(frozen=True)
class LSTMState:
    """The whole memory of a history: per layer, h and c of shape (B, H_layer)."""

    h: tuple[Tensor, ...]
    c: tuple[Tensor, ...]

    def detach(self) -> LSTMState:
        """The same numbers, cut from the graph: where back-propagation through time stops."""
        return LSTMState(tuple(t.detach() for t in self.h), tuple(t.detach() for t in self.c))


class LSTMLayer(nn.Module):
    """One layer. Gate order i, f, g, o; one bias, since two would only add up.

    layer: its place in the stack; the first one reads the embedding.
    """

    def __init__(self, input_size: int, hidden_size: int, layer: int = 0) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.reset_parameters(layer)

    def reset_parameters(self, layer: int) -> None:
        """Orthogonal recurrence (Saxe et al. 2014), forget bias 1 (Jozefowicz et al. 2015)."""
        for block in self.weight_hh.data.chunk(4):
            nn.init.orthogonal_(block)
        init_input_weight(self.weight_ih, layer)
        nn.init.zeros_(self.bias)
        nn.init.ones_(self.bias.data[self.hidden_size : 2 * self.hidden_size])

    def forward(
        self, x: Tensor, h: Tensor, c: Tensor, weight_hh: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whole sequence by the framework's fused kernel: (T, B, I) -> (T, B, H), h_T, c_T.

        weight_hh: the recurrent matrix to use in place of the layer's own.
        """
        recurrent = self.weight_hh if weight_hh is None else weight_hh
        weights = [self.weight_ih, recurrent, self.bias, torch.zeros_like(self.bias)]
        out, h_n, c_n = torch.lstm(
            x, [h[None], c[None]], weights, True, 1, 0.0, self.training, False, False
        )
        return out, h_n[0], c_n[0]

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """One time step by the equations of the module's docstring: (B, I) -> h, c of (B, H)."""
        gates = x @ self.weight_ih.T + h @ self.weight_hh.T + self.bias
        i, f, g, o = gates.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class LSTMLanguageModel(LanguageModel):
    """Embedding -> stacked LSTM (with optional skip connections) -> tied or free softmax."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        sizes = zip(config.input_sizes, config.hidden_sizes, strict=True)
        self.layers = nn.ModuleList(LSTMLayer(i, h, k) for k, (i, h) in enumerate(sizes))

    def initial_state(self, batch_size: int) -> LSTMState:
        """The memory of nothing: zeros."""
        zeros = [
            self.embedding.weight.new_zeros(batch_size, size) for size in self.config.hidden_sizes
        ]
        return LSTMState(tuple(zeros), tuple(zeros))

    def forward(
        self, ids: Tensor, state: LSTMState, noise: Noise = NO_NOISE
    ) -> tuple[Tensor, LSTMState]:
        """(T, B) ids -> (T, B, H_last) features for the softmax, and the state after them."""
        x, hs, cs = noise.embedding(self.embedding(ids), ids), [], []
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, LSTMLayer)
            x = noise.layer_input(x, k)
            y, h, c = layer(x, state.h[k], state.c[k], noise.recurrent(layer.weight_hh))
            x = y + x if self.config.has_skip(k) else y
            hs.append(h)
            cs.append(c)
        return x, LSTMState(tuple(hs), tuple(cs))

    def step(self, ids: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """(B,) ids -> (B, V) log-probabilities of what follows, by the plain equations."""
        x, hs, cs = self.embedding(ids), [], []
        for k, layer in enumerate(self.layers):
            assert isinstance(layer, LSTMLayer)
            h, c = layer.step(x, state.h[k], state.c[k])
            x = h + x if self.config.has_skip(k) else h
            hs.append(h)
            cs.append(c)
        return torch.log_softmax(self.logits(x), dim=-1), LSTMState(tuple(hs), tuple(cs))
