"""The LSTM language model, and the plain `score` and `generate` that serve as oracle.

Equations (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000):

    i, f, g, o = split(W_ih x_t + W_hh h_{t-1} + b)
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)

Tensors are time-major: ids are (T, B), features (T, B, H).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ModelConfig


@dataclass(frozen=True)
class LSTMState:
    """The whole memory of a history: per layer, h and c of shape (B, H_layer)."""

    h: tuple[Tensor, ...]
    c: tuple[Tensor, ...]

    def detach(self) -> LSTMState:
        """The same numbers, cut from the graph: where back-propagation through time stops."""
        return LSTMState(tuple(t.detach() for t in self.h), tuple(t.detach() for t in self.c))


class Noise:
    """What training may do to a network's insides, window by window; this one does nothing."""

    def embedding(self, x: Tensor, ids: Tensor) -> Tensor:  # noqa: ARG002
        """The embedded input (T, B, E) of `ids` (T, B)."""
        return x

    def layer_input(self, x: Tensor, layer: int) -> Tensor:  # noqa: ARG002
        """What enters a layer, (T, B, I)."""
        return x

    def recurrent(self, weight: Tensor) -> Tensor:
        """A layer's recurrent matrix."""
        return weight


NO_NOISE = Noise()
EMBEDDING_STD = 0.1
Output = nn.Linear | nn.AdaptiveLogSoftmaxWithLoss


def new_output(config: ModelConfig) -> Output:
    """The softmax's own parameters, where it does not share the embedding's."""
    width = config.hidden_sizes[-1]
    if config.adaptive_cutoffs:
        return nn.AdaptiveLogSoftmaxWithLoss(width, config.vocab_size, config.adaptive_cutoffs)
    return nn.Linear(width, config.vocab_size, bias=False)


def adaptive_logits(output: Output, features: Tensor) -> Tensor:
    """(..., H_last) -> (..., V) log-probabilities, which are logits of themselves."""
    assert isinstance(output, nn.AdaptiveLogSoftmaxWithLoss)
    logprobs: Tensor = output.log_prob(features.flatten(0, -2))
    return logprobs.view(*features.shape[:-1], output.n_classes)


def init_embedding(weight: Tensor) -> None:
    """Small: with tied weights it is the softmax too, which must start near uniform."""
    nn.init.normal_(weight, std=EMBEDDING_STD)


def init_input_weight(weight: Tensor, layer: int) -> None:
    """Of the product with a layer's input (H, I): its results start with about unit variance.

    The first layer makes up for the small embedding. Without that, gates hardly see their input
    at first, and training takes many times as long to get beyond the frequencies of tokens.
    """
    input_rms = EMBEDDING_STD if layer == 0 else 1.0
    nn.init.normal_(weight, std=1 / (input_rms * math.sqrt(weight.shape[1])))


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


class LSTMLanguageModel(nn.Module):
    """Embedding -> stacked LSTM (with optional skip connections) -> tied or free softmax."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        init_embedding(self.embedding.weight)
        sizes = zip(config.input_sizes, config.hidden_sizes, strict=True)
        self.layers = nn.ModuleList(LSTMLayer(i, h, k) for k, (i, h) in enumerate(sizes))
        if not config.tie_weights:
            self.output = new_output(config)

    @property
    def output_weight(self) -> Tensor:
        """Softmax matrix, (V, H_last); an adaptive softmax has none."""
        if self.config.tie_weights:
            return self.embedding.weight
        assert isinstance(self.output, nn.Linear)
        return self.output.weight

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

    def logits(self, features: Tensor) -> Tensor:
        """(..., H_last) -> (..., V), unnormalised."""
        if self.config.adaptive_cutoffs:
            return adaptive_logits(self.output, features)
        return F.linear(features, self.output_weight)

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

    def score(self, ids: Sequence[int], state: LSTMState | None = None) -> list[float]:
        """ln P(ids[t] | ids[:t]) in nats for t >= 1; the first token is given, usually begin."""
        return oracle_score(self, ids, state)

    def generate(
        self,
        ids: Sequence[int],
        max_tokens: int,
        *,
        choose: Callable[[Tensor], int] = lambda logprobs: int(logprobs.argmax()),
        stop_ids: Sequence[int] = (),
    ) -> list[int]:
        """Continue `ids` one token at a time; `choose` maps (V,) log-probabilities to an id."""
        return oracle_generate(self, ids, max_tokens, choose=choose, stop_ids=stop_ids)


class _Steppable(Protocol):
    """What the oracle needs of a model."""

    def initial_state(self, batch_size: int) -> Any: ...

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]: ...


@torch.no_grad()
def oracle_score(model: _Steppable, ids: Sequence[int], state: Any = None) -> list[float]:
    """`score` for any model with `initial_state` and `step`; slow and obvious on purpose."""
    state = model.initial_state(1) if state is None else state
    scores = []
    for token, following in pairwise(ids):
        logprobs, state = model.step(torch.tensor([token]), state)
        scores.append(float(logprobs[0, following]))
    return scores


@torch.no_grad()
def oracle_generate(
    model: _Steppable,
    ids: Sequence[int],
    max_tokens: int,
    *,
    choose: Callable[[Tensor], int],
    stop_ids: Sequence[int],
) -> list[int]:
    """`generate` for any model with `initial_state` and `step`."""
    if not ids:
        raise ValueError("generate needs at least one token to start from, usually begin")
    state, generated = model.initial_state(1), list[int]()
    for token in ids:
        logprobs, state = model.step(torch.tensor([token]), state)
    while len(generated) < max_tokens:
        token = choose(logprobs[0])
        generated.append(token)
        if token in stop_ids:
            break
        logprobs, state = model.step(torch.tensor([token]), state)
    return generated
