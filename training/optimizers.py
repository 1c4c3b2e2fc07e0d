"""The optimiser, and its learning rate over a run: linear warm-up, then cosine or constant."""

from __future__ import annotations

import math

import torch
from torch import nn

from training.config import OptimizerSection


def build_optimizer(model: nn.Module, settings: OptimizerSection) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), or plain SGD as Merity et al. 2018 use it."""
    parameters, decay = list(model.parameters()), settings.weight_decay
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, lr=settings.lr, weight_decay=decay, fused=True)
    return torch.optim.AdamW(
        parameters, lr=settings.lr, betas=settings.betas, weight_decay=decay, fused=True
    )


def learning_rate(settings: OptimizerSection, tokens: int, max_tokens: int) -> float:
    """Rate after `tokens` of `max_tokens` training tokens; cosine of Loshchilov & Hutter 2017."""
    warmup = min(settings.warmup_tokens, max_tokens // 10)
    if tokens < warmup:
        return settings.lr * (tokens + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return settings.lr
    span = max(max_tokens - warmup, 1)
    progress = min((tokens - warmup) / span, 1.0)
    floor = settings.lr * settings.min_lr_ratio
    return floor + (settings.lr - floor) * (1 + math.cos(math.pi * progress)) / 2
