"""What keeps a network from learning its corpus by heart (Merity et al. 2018, AWD-LSTM).

- locked dropout (Gal & Ghahramani 2016): one mask for all steps of a window,
- embedding-row dropout: a token is missing from the whole window,
- weight drop (Wan et al. 2013 on the recurrent matrices): one mask of weights for a window,
- activation regularisation and its temporal form (Merity et al. 2017).

All of it acts on copies: parameters are never changed, gradients reach them through the masks, and
a network that is evaluated meets none of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.language_model import NO_NOISE, LanguageModel, Noise
from training.config import RegularizationSection
from training.losses import AdaptiveCrossEntropy, LinearCrossEntropy


def locked_dropout(x: Tensor, p: float) -> Tensor:
    """Drops whole features of (T, B, H): the same ones at every step, others in every row."""
    if p == 0:
        return x
    return x * F.dropout(x.new_ones(1, *x.shape[1:]), p)


class Dropout(Noise):
    """The noise that a configuration asks for; masks are drawn at every call."""

    def __init__(self, settings: RegularizationSection, vocab_size: int) -> None:
        self.settings, self.vocab_size = settings, vocab_size

    def embedding(self, x: Tensor, ids: Tensor) -> Tensor:
        if self.settings.embedding_dropout == 0:
            return x
        rows = F.dropout(x.new_ones(self.vocab_size), self.settings.embedding_dropout)
        return x * rows[ids, None]

    def layer_input(self, x: Tensor, layer: int) -> Tensor:
        settings = self.settings
        return locked_dropout(x, settings.layer_dropout if layer else settings.input_dropout)

    def recurrent(self, weight: Tensor) -> Tensor:
        p = self.settings.weight_drop
        return F.dropout(weight, p) if p else weight


class Objective(nn.Module):
    """A network and what is minimised over a window of it: cross-entropy plus penalties.

    precision: of matrix products; sums and softmax stay float32.
    """

    def __init__(
        self, model: LanguageModel, settings: RegularizationSection, precision: torch.dtype
    ) -> None:
        super().__init__()
        self.model, self.settings, self.precision = model, settings, precision
        self.linear_cross_entropy = LinearCrossEntropy(precision)
        clusters = len(model.config.adaptive_cutoffs)
        self.adaptive_cross_entropy = AdaptiveCrossEntropy(clusters, precision)

    def forward(
        self, inputs: Tensor, targets: Tensor, rows: Tensor | None, share: float, state: Any
    ) -> tuple[Tensor, Tensor, Any]:
        """Ids (T, B) -> what to minimise, its cross-entropy alone, and the state after the window.

        targets: (N,) next tokens, of every position of the window by time and row, or of `rows`
        only: indices (N,) into the T * B positions. share: what to multiply the sum of their
        losses with; one over N gives a mean.
        """
        settings = self.settings
        noise = Dropout(settings, self.model.config.vocab_size) if self.training else NO_NOISE
        mixed = self.precision is torch.bfloat16
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=mixed):
            raw, state = self.model(inputs, state, noise)
        features = locked_dropout(raw, settings.output_dropout) if self.training else raw
        flat = features.flatten(0, 1)
        nll = self._cross_entropy(flat if rows is None else flat[rows], targets)
        loss = nll * share
        penalty = loss.new_zeros(())
        if self.training and settings.activation_alpha:
            penalty = penalty + settings.activation_alpha * features.float().square().mean()
        if self.training and settings.temporal_beta and len(raw) > 1:
            penalty = penalty + settings.temporal_beta * raw.float().diff(dim=0).square().mean()
        return loss + penalty, loss.detach(), state

    def _cross_entropy(self, features: Tensor, targets: Tensor) -> Tensor:
        model = self.model
        if model.config.adaptive_cutoffs:
            nll: Tensor = self.adaptive_cross_entropy(features, model.output, targets)
        else:
            nll = self.linear_cross_entropy(features, model.output_weight, targets)
        return nll
