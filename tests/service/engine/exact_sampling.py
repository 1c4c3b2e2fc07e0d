"""Sampling as its definitions say it: whole distributions, sorted, in double precision."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats, SamplingParams

Doubles = NDArray[np.float64]


def exact_distribution(
    logits: Floats,
    params: SamplingParams,
    prompt: Sequence[int] = (),
    generated: Sequence[int] = (),
) -> Doubles:
    """P of each token (V,) under `params`; all zeros if they exclude every token."""
    values = _penalised(logits.astype(np.float64), params, prompt, generated)
    values[_excluded(len(values), params, prompt, generated)] = -np.inf
    if np.isneginf(values).all():
        return np.zeros(len(values))
    if params.temperature == 0:
        best: Doubles = (np.arange(len(values)) == values.argmax()).astype(np.float64)
        return best
    probabilities = _normalised(np.exp((values - values.max()) / params.temperature))
    probabilities[probabilities < params.min_p * probabilities.max()] = 0
    if params.top_k:
        probabilities[np.argsort(-probabilities, kind="stable")[params.top_k :]] = 0
    if params.typical_p < 1:
        probabilities = _normalised(probabilities)
        possible = probabilities > 0
        information = -np.log(probabilities, where=possible, out=np.zeros(len(values)))
        distance = np.abs(information - (probabilities * information).sum())
        distance[~possible] = np.inf
        _keep_mass(probabilities, np.argsort(distance, kind="stable"), params.typical_p)
    if params.top_p < 1:
        probabilities = _normalised(probabilities)
        _keep_mass(probabilities, np.argsort(-probabilities, kind="stable"), params.top_p)
    return _normalised(probabilities)


def exact_draw(
    logits: Floats,
    params: SamplingParams,
    uniforms: Callable[[int], float],
    prompt: Sequence[int] = (),
    generated: Sequence[int] = (),
) -> int | None:
    """The token that the sampler must draw; uniforms: attempt -> its random number."""
    nucleus = exact_distribution(logits, params, prompt, generated)
    if not nucleus.any():
        return None
    open_to_all = exact_distribution(logits, replace(params, top_p=1.0), prompt, generated)
    if _is_drawn_in_order(open_to_all, nucleus, params):
        order = np.argsort(-nucleus, kind="stable")
        return int(order[_inverse(nucleus[order], uniforms(0))])
    for attempt in itertools.count():
        token = _inverse(open_to_all, uniforms(attempt))
        if nucleus[token]:
            return token
        below = open_to_all < open_to_all[token]
        tied = open_to_all == open_to_all[token]
        tied[:token] = False
        open_to_all = _normalised(np.where(below | tied, 0, open_to_all))
    raise AssertionError


def _is_drawn_in_order(open_to_all: Doubles, nucleus: Doubles, params: SamplingParams) -> bool:
    """Whether the tokens in question surely are among the 64 best, or the k best."""
    vocab = len(nucleus)
    if 0 < params.top_k < vocab:
        return True
    if params.typical_p < 1 or (params.top_p >= 1 and params.min_p <= 0):
        return False
    if params.min_p > 0:
        return vocab <= 64 or int(np.count_nonzero(open_to_all)) < 64
    return int(np.count_nonzero(nucleus)) <= 64


def _inverse(probabilities: Doubles, uniform: float) -> int:
    """The token in whose share of [0, 1) `uniform` lies."""
    return int(np.searchsorted(np.cumsum(probabilities), uniform, side="right"))


def _penalised(
    logits: Doubles, params: SamplingParams, prompt: Sequence[int], generated: Sequence[int]
) -> Doubles:
    values = logits.copy()
    for token, bias in params.logit_bias.items():
        values[token] += bias
    for token in {*prompt, *generated}:
        factor = params.repetition_penalty
        values[token] = values[token] / factor if values[token] > 0 else values[token] * factor
    for token in set(generated):
        count = list(generated).count(token)
        values[token] -= params.presence_penalty + params.frequency_penalty * count
    return values


def _excluded(
    vocab: int, params: SamplingParams, prompt: Sequence[int], generated: Sequence[int]
) -> list[int]:
    excluded = list(params.suppressed_token_ids)
    if params.allowed_token_ids is not None:
        excluded += set(range(vocab)) - set(params.allowed_token_ids)
    if len(generated) < params.min_tokens:
        excluded += params.stop_token_ids
    history = (*prompt, *generated)
    excluded += [
        last
        for *first, last in params.bad_words
        if history[len(history) - len(first) :] == (*first,)
    ]
    return excluded


def _normalised(weights: Doubles) -> Doubles:
    result: Doubles = weights / weights.sum()
    return result


def _keep_mass(probabilities: Doubles, order: NDArray[np.int64], mass: float) -> None:
    """Of the tokens in `order` the fewest stay whose mass reaches `mass`; the rest becomes 0."""
    reached = np.cumsum(probabilities[order])
    size = int(np.searchsorted(reached, mass, side="left")) + 1
    probabilities[order[size:]] = 0
