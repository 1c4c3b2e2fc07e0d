"""Softmax cross-entropy taken together with its matrix product.

The (N, V) logits of a window are by far the largest tensor of training. Here they exist one chunk
of rows at a time, and the gradient is formed in the same pass while the chunk is still in cache;
only its low-precision copy is kept, for one product that gives the matrix's gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK_ROWS = 256


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype
    ) -> Tensor:
        x, w = features.to(dtype), weight.to(dtype)
        loss = torch.zeros((), device=x.device)
        needs_grad = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        dlogits = torch.empty(len(x) if needs_grad else 0, len(w), dtype=dtype, device=x.device)
        dx = torch.empty_like(x)
        for start in range(0, len(x), _CHUNK_ROWS):
            rows = slice(start, start + _CHUNK_ROWS)
            logprobs = torch.log_softmax(x[rows] @ w.T, dim=1, dtype=torch.float32)
            chosen = targets[rows, None]
            loss -= logprobs.gather(1, chosen).sum()
            if needs_grad:
                # d loss / d logits = P - one_hot(target)
                grad = logprobs.exp_()
                grad.scatter_add_(1, chosen, grad.new_full(chosen.shape, -1.0))
                dlogits[rows] = grad
                torch.mm(dlogits[rows], w, out=dx[rows])
        if needs_grad:
            ctx.save_for_backward(dx, dlogits.T @ x)
            ctx.dtypes = features.dtype, weight.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        scale = grads[0]
        return dx.to(ctx.dtypes[0]) * scale, dw.to(ctx.dtypes[1]) * scale, None, None


def linear_cross_entropy(
    features: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Sum of -ln softmax(features @ weight.T)[target], in nats.

    features (N, H), weight (V, H), targets (N,); matrix products run in `dtype`, the softmax in
    float32.
    """
    loss: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        features, weight, targets, dtype
    )
    return loss
