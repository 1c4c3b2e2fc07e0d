"""Two ways to score that learn from the text while it is read. Never quoted as the model's own
figure: the same words score differently after another text.

- Neural cache (Grave et al. 2017): what followed similar states within the last words is likely.
- Dynamic evaluation (Krause et al. 2018, its SGD form): after each segment is scored, a step of
  gradient descent on it, and a pull back to the weights as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """size: positions remembered. flatness: theta, how much only the most similar states count.
    share: lambda, the cache's part of the mixture."""

    size: int = 2000
    flatness: float = 0.3
    share: float = 0.1


@dataclass(frozen=True, kw_only=True)
class DynamicSettings:
    """rate: of a step of gradient descent on the mean loss of a segment, its norm bounded by
    `clip`. pull: towards the first weights, share of the distance a segment. segment: tokens."""

    rate: float = 0.5
    pull: float = 0.001
    clip: float = 0.25
    segment: int = 16


@torch.no_grad()
def cache_losses(model: LanguageModel, ids: Tensor, settings: CacheSettings) -> Tensor:
    """-ln of (1 - share) P(id) + share P_cache(id), in nats, (T,), for ids (T + 1,).

    P_cache(w) is proportional to the sum of exp(flatness * h_t . h_i) over the last `size`
    positions i < t that were followed by w.
    """
    past, followers = torch.empty(0), torch.empty(0, dtype=torch.long)
    losses = []
    for features, logprobs, targets in _windows(model, ids, 256):
        if not len(past):
            past = features[:0]
        keys = torch.cat([past, features])
        following = torch.cat([followers, targets])
        steps = torch.arange(len(targets))
        position = torch.arange(len(keys))[None] - len(past)
        seen = (position < steps[:, None]) & (position >= steps[:, None] - settings.size)
        scores = settings.flatness * features @ keys.T
        weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=1).nan_to_num()
        hit = (weights * (following[None] == targets[:, None])).sum(dim=1)
        own = logprobs.gather(1, targets[:, None])[:, 0].exp()
        share = settings.share * seen.any(dim=1)
        losses.append(-((1 - share) * own + share * hit).log())
        past, followers = keys[-settings.size :], following[-settings.size :]
    return torch.cat(losses)


def _windows(
    model: LanguageModel, ids: Tensor, length: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Features (T, H), log-probabilities (T, V) and targets (T,) of consecutive windows."""
    state: Any = model.initial_state(1)
    for start in range(0, len(ids) - 1, length):
        stop = min(start + length, len(ids) - 1)
        features, state = model(ids[start:stop, None], state)
        yield (
            features[:, 0],
            model.logits(features[:, 0]).log_softmax(dim=1),
            ids[start + 1 : stop + 1],
        )


def dynamic_losses(model: LanguageModel, ids: Tensor, settings: DynamicSettings) -> Tensor:
    """-ln P of each id under a copy of the model that learns from every segment it has scored.

    ids (T + 1,) -> (T,) in nats. A segment is scored before it is learnt from.
    """
    learner = copy.deepcopy(model)
    parameters, first = list(learner.parameters()), list(model.parameters())
    state: Any = learner.initial_state(1)
    losses = []
    for start in range(0, len(ids) - 1, settings.segment):
        stop = min(start + settings.segment, len(ids) - 1)
        features, state = learner(ids[start:stop, None], state.detach())
        logits, targets = learner.logits(features[:, 0]), ids[start + 1 : stop + 1]
        each = F.cross_entropy(logits, targets, reduction="none")
        losses.append(each.detach())
        gradients = torch.autograd.grad(each.mean(), parameters)
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        rate = settings.rate * min(1.0, settings.clip / float(norm + 1e-12))
        with torch.no_grad():
            for parameter, gradient, origin in zip(parameters, gradients, first, strict=True):
                parameter.sub_(rate * gradient).lerp_(origin, settings.pull)
    return torch.cat(losses)
