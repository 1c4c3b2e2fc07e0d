"""Softmax cross-entropy taken together with its matrix product.

The (N, V) logits of a window are by far the largest tensor of training. Here they are made one
chunk of rows at a time and turned in place into the gradient while the chunk is still in cache.
The memory that holds it is kept from window to window: fresh memory of that size would cost as
much time as the softmax.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_CHUNK_ROWS = 512


class LinearCrossEntropy(nn.Module):
    """Sum of -ln softmax(features @ weight.T)[target], in nats.

    dtype: of the matrix products and their results; sums inside the softmax are float32.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self._scratch = torch.empty(0)

    def forward(self, features: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Features (N, H), weight (V, H), targets (N,) -> a scalar."""
        needs_gradient = torch.is_grad_enabled() and (
            features.requires_grad or weight.requires_grad
        )
        rows = len(features) if needs_gradient else min(len(features), _CHUNK_ROWS)
        shape = (max(rows, 1), len(weight))
        if self._scratch.shape[0] < shape[0] or self._scratch.shape[1:] != shape[1:]:
            self._scratch = torch.empty(shape, dtype=self.dtype, device=features.device)
        loss: Tensor = _Sum.apply(  # type: ignore[no-untyped-call]
            features, weight, targets, self._scratch, needs_gradient
        )
        return loss


class AdaptiveCrossEntropy(nn.Module):
    """As `LinearCrossEntropy`, of an adaptive softmax (Grave et al. 2017).

    Rare tokens stand in the head as one entry a cluster, and only the rows whose target lies in a
    cluster meet its matrices. On a GPU, finding those rows waits for the work before.
    """

    def __init__(self, num_clusters: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        self.head = LinearCrossEntropy(dtype)
        self.clusters = nn.ModuleList(LinearCrossEntropy(dtype) for _ in range(num_clusters))

    def forward(
        self, features: Tensor, softmax: nn.AdaptiveLogSoftmaxWithLoss, targets: Tensor
    ) -> Tensor:
        """Features (N, H), targets (N,) -> a scalar."""
        head_targets, total = targets.clone(), torch.zeros((), device=features.device)
        borders = zip(pairwise(softmax.cutoffs), softmax.tail, self.clusters, strict=True)
        for k, ((low, high), tail, cross_entropy) in enumerate(borders):
            assert isinstance(tail, nn.Sequential)
            rows = ((targets >= low) & (targets < high)).nonzero()[:, 0]
            head_targets[rows] = softmax.shortlist_size + k
            narrow, wide = tail.parameters()
            projected = F.linear(features[rows].to(self.dtype), narrow.to(self.dtype))
            total = total + cross_entropy(projected, wide, targets[rows] - low)
        loss: Tensor = total + self.head(features, softmax.head.weight, head_targets)
        return loss


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        targets: Tensor,
        scratch: Tensor,
        needs_gradient: bool,  # ctx.needs_input_grad says so even where gradients are off
    ) -> Tensor:
        x, w = features.to(scratch.dtype), weight.to(scratch.dtype)
        loss = torch.zeros((), device=x.device)
        dx = torch.empty_like(x)
        for start in range(0, len(x), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            target = targets[rows]
            first = start if needs_gradient else 0
            chunk = scratch[first : first + len(target)]
            torch.mm(x[rows], w.T, out=chunk)
            torch.softmax(chunk, dim=1, out=chunk)
            chosen = torch.arange(len(target), device=x.device), target
            probability = chunk[chosen].float()
            loss -= probability.clamp_min(torch.finfo(torch.float32).tiny).log().sum()
            if needs_gradient:
                # d loss / d logits = P - one_hot(target)
                chunk[chosen] = (probability - 1).to(chunk.dtype)
                torch.mm(chunk, w, out=dx[rows])
        if needs_gradient:
            # Transposed copies: a product that reads its left factor across its rows, and sums of
            # gradients laid out in two ways, take twice the time on CPUs.
            dw = x.T.contiguous() @ scratch[: len(x)]
            ctx.save_for_backward(dx, dw.T.contiguous())
            ctx.dtypes = features.dtype, weight.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        scale = grads[0]
        return dx.to(ctx.dtypes[0]) * scale, dw.to(ctx.dtypes[1]) * scale, None, None, None
