"""Learning rate over a run: linear warm-up, then a cosine (Loshchilov & Hutter 2017)."""

from __future__ import annotations

import math

from training.config import OptimizerSection


def learning_rate(config: OptimizerSection, tokens: int, max_tokens: int) -> float:
    """Rate after `tokens` of `max_tokens` training tokens."""
    if tokens < config.warmup_tokens:
        return config.lr * (tokens + 1) / (config.warmup_tokens + 1)
    span = max(max_tokens - config.warmup_tokens, 1)
    progress = min((tokens - config.warmup_tokens) / span, 1.0)
    floor = config.lr * config.min_lr_ratio
    return floor + (config.lr - floor) * (1 + math.cos(math.pi * progress)) / 2
