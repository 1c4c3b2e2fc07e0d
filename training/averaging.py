"""Averages of the weights (Polyak & Juditsky 1992): what is validated and kept.

- exponential: recent weights count most;
- last: the mean over the last share of the run;
- nt-asgd: the mean from the moment on when validation stops to improve (Merity et al. 2018).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from training.config import AveragingSection


class WeightAverage:
    """Average of a model's parameters. Until it begins, the parameters themselves stand for it.

    Attributes: `tensors`, the averages, empty before the first update; `num_updates`.
    """

    def __init__(self, model: nn.Module, settings: AveragingSection) -> None:
        self.settings = settings
        self.parameters: list[Tensor] = list(model.parameters())
        self.tensors: list[Tensor] = []
        self.num_updates = 0
        self.triggered = False

    def observe(self, losses: Sequence[float]) -> None:
        """Decides on "nt-asgd" from all validation losses so far (Merity et al. 2018, alg. 1)."""
        n, before = self.settings.nonmonotone, losses[:-1]
        if self.settings.kind == "nt-asgd" and len(before) > n:
            self.triggered = self.triggered or losses[-1] > min(before[:-n])

    @torch.no_grad()
    def update(self, progress: float) -> None:
        """Takes in the parameters as they are; `progress` is the share of the run that is done."""
        if not self._begun(progress):
            if self.settings.kind == "last":  # a run that goes on longer than was first asked
                self.tensors, self.num_updates = [], 0
            return
        self.num_updates += 1
        if not self.tensors:
            self.tensors = [p.detach().clone() for p in self.parameters]
        elif self.settings.kind == "exponential":
            # From 0.1 towards the final decay, so that the random start is soon forgotten.
            decay = min(self.settings.decay, self.num_updates / (self.num_updates + 9))
            torch._foreach_lerp_(self.tensors, self.parameters, 1 - decay)
        else:
            torch._foreach_lerp_(self.tensors, self.parameters, 1 / self.num_updates)

    def _begun(self, progress: float) -> bool:
        kind = self.settings.kind
        if kind == "last":
            return progress >= 1 - self.settings.last_share
        return kind == "exponential" or self.triggered

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the averaged weights inside this context."""
        if not self.tensors:
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
