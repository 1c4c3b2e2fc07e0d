"""Exponential average of the weights (Polyak & Juditsky 1992): what is measured and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of a model's parameters; with decay 0 it stands aside and costs nothing.

    The decay grows from 0.1 towards its final value over the first updates, so that the random
    start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.parameters: list[Tensor] = list(model.parameters())
        self.decay, self.num_updates = decay, 0
        self.tensors = [p.detach().clone() for p in self.parameters] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        if not self.decay:
            return
        self.num_updates += 1
        decay = min(self.decay, self.num_updates / (self.num_updates + 9))
        torch._foreach_lerp_(self.tensors, self.parameters, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the averaged weights inside this context."""
        if not self.decay:
            yield
            return
        raw = [p.data for p in self.parameters]
        for parameter, average in zip(self.parameters, self.tensors, strict=True):
            parameter.data = average
        try:
            yield
        finally:
            for parameter, data in zip(self.parameters, raw, strict=True):
                parameter.data = data

    def load(self, tensors: Sequence[Tensor], num_updates: int) -> None:
        for mine, saved in zip(self.tensors, tensors, strict=True):
            mine.copy_(saved)
        self.num_updates = num_updates
