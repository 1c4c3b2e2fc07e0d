"""Sampling written as plainly as its definitions, one row at a time; the tests' own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.engine.request import SamplingParams

Floats = NDArray[np.float64]


def log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max()
    result: Floats = shifted - np.log(np.exp(shifted).sum())
    return result


def top(logprobs: Floats, count: int) -> tuple[tuple[int, float], ...]:
    """The `count` most probable tokens; ties by id."""
    order = np.argsort(-logprobs, kind="stable")[:count]
    return tuple((int(i), float(logprobs[i])) for i in order)


def adjusted(
    logprobs: Floats, params: SamplingParams, prompt: Sequence[int], generated: Sequence[int]
) -> Floats:
    """Logits after bias, penalties and bans, before temperature."""
    logits = logprobs.copy()
    for token_id, bias in params.logit_bias.items():
        logits[token_id] += bias
    for token_id in {*prompt, *generated}:
        scale = params.repetition_penalty
        logits[token_id] *= scale if logits[token_id] < 0 else 1 / scale
    for token_id in set(generated):
        count = list(generated).count(token_id)
        logits[token_id] -= params.presence_penalty + params.frequency_penalty * count
    logits[_banned(len(logits), params, generated)] = -np.inf
    return logits


def _banned(vocab_size: int, params: SamplingParams, generated: Sequence[int]) -> NDArray[np.bool_]:
    banned = np.zeros(vocab_size, bool)
    if params.allowed_token_ids is not None:
        banned[:] = True
        banned[list(params.allowed_token_ids)] = False
    banned[list(params.suppressed_token_ids)] = True
    if len(generated) < params.min_tokens:
        banned[list(params.stop_token_ids)] = True
    for word in params.bad_words:
        head = len(word) - 1
        if tuple(generated[len(generated) - head :]) == word[:-1]:
            banned[word[-1]] = True
    return banned


def choose(logits: Floats, params: SamplingParams, rng: np.random.Generator) -> int:
    """Temperature, then the filters, then one draw."""
    if params.temperature == 0:
        return int(logits.argmax())
    logprobs = log_softmax(logits / params.temperature)
    keep = np.isfinite(logprobs)
    if params.top_k:
        keep &= logprobs >= np.sort(logprobs)[-min(params.top_k, len(logprobs))]
    if params.top_p < 1:
        keep &= _nucleus(logprobs, -logprobs, params.top_p)
    if params.typical_p < 1:
        entropy = -(np.exp(logprobs[keep]) * logprobs[keep]).sum()
        keep &= _nucleus(logprobs, np.abs(-logprobs - entropy), params.typical_p)
    keep &= logprobs >= logprobs.max() + np.log(max(params.min_p, 1e-300))
    weights = np.where(keep, np.exp(logprobs), 0)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def _nucleus(logprobs: Floats, key: Floats, mass: float) -> NDArray[np.bool_]:
    """The first tokens in the order of `key` that together reach `mass`."""
    order = np.argsort(key, kind="stable")
    before = np.cumsum(np.exp(logprobs[order])) - np.exp(logprobs[order])
    keep = np.zeros(len(logprobs), bool)
    keep[order[before < mass]] = True
    return keep
