"""What every architecture shares: embedding, softmax, and the plain oracle.

Tensors are time-major: ids are (T, B), features (T, B, H).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.config import ModelConfig

EMBEDDING_STD = 0.1


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


class LanguageModel(nn.Module, ABC):
    """Embedding -> layers -> tied or free softmax.

    A state is whatever `initial_state` makes; it has `detach()`.
    """

    layers: nn.ModuleList

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        # Small: with tied weights it is the softmax too, which must start near uniform.
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        if not config.tie_weights:
            self.output = _new_output(config)

    @property
    def output_weight(self) -> Tensor:
        """Softmax matrix, (V, H_last); an adaptive softmax has none."""
        if self.config.tie_weights:
            return self.embedding.weight
        assert isinstance(self.output, nn.Linear)
        return self.output.weight

    @abstractmethod
    def initial_state(self, batch_size: int) -> Any:
        """The memory of nothing."""

    @abstractmethod
    def forward(self, ids: Tensor, state: Any, noise: Noise = NO_NOISE) -> tuple[Tensor, Any]:
        """(T, B) ids -> (T, B, H_last) features for the softmax, and the state after them."""

    def logits(self, features: Tensor) -> Tensor:
        """(..., H_last) -> (..., V), unnormalised."""
        if self.config.adaptive_cutoffs:
            return _adaptive_logits(self.output, features)
        return F.linear(features, self.output_weight)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """(B,) ids -> (B, V) log-probabilities of what follows."""
        features, state = self(ids[None], state)
        return torch.log_softmax(self.logits(features[0]), dim=-1), state

    @torch.no_grad()
    def score(self, ids: Sequence[int], state: Any = None) -> list[float]:
        """ln P(ids[t] | ids[:t]) in nats for t >= 1; the first token is given, usually begin.

        Slow and obvious on purpose.
        """
        state = self.initial_state(1) if state is None else state
        scores = []
        for token, following in pairwise(ids):
            logprobs, state = self.step(torch.tensor([token]), state)
            scores.append(float(logprobs[0, following]))
        return scores

    @torch.no_grad()
    def generate(
        self,
        ids: Sequence[int],
        max_tokens: int,
        *,
        choose: Callable[[Tensor], int] = lambda logprobs: int(logprobs.argmax()),
        stop_ids: Sequence[int] = (),
    ) -> list[int]:
        """Continue `ids` one token at a time; `choose` maps (V,) log-probabilities to an id."""
        if not ids:
            raise ValueError("generate needs at least one token to start from, usually begin")
        state, generated = self.initial_state(1), list[int]()
        for token in ids:
            logprobs, state = self.step(torch.tensor([token]), state)
        while len(generated) < max_tokens:
            token = choose(logprobs[0])
            generated.append(token)
            if token in stop_ids:
                break
            logprobs, state = self.step(torch.tensor([token]), state)
        return generated


def _new_output(config: ModelConfig) -> nn.Linear | nn.AdaptiveLogSoftmaxWithLoss:
    """The softmax's own parameters, where it does not share the embedding's."""
    width = config.hidden_sizes[-1]
    if config.adaptive_cutoffs:
        return nn.AdaptiveLogSoftmaxWithLoss(width, config.vocab_size, config.adaptive_cutoffs)
    return nn.Linear(width, config.vocab_size, bias=False)


def _adaptive_logits(output: nn.Module, features: Tensor) -> Tensor:
    """(..., H_last) -> (..., V) log-probabilities, which are logits of themselves."""
    assert isinstance(output, nn.AdaptiveLogSoftmaxWithLoss)
    logprobs: Tensor = output.log_prob(features.flatten(0, -2))
    return logprobs.view(*features.shape[:-1], output.n_classes)


def init_input_weight(weight: Tensor, layer: int) -> None:
    """Of the product with a layer's input (H, I): its results start with about unit variance.

    The first layer makes up for the small embedding. Without that, gates hardly see their input
    at first, and training takes many times as long to get beyond the frequencies of tokens.
    """
    input_rms = EMBEDDING_STD if layer == 0 else 1.0
    nn.init.normal_(weight, std=1 / (input_rms * math.sqrt(weight.shape[1])))
