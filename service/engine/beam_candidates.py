"""The best ways to go on of the beams of one search, found for all of its rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.request import Floats
from service.engine.sampling.logits_processors import (
    PromptTokens,
    SampleState,
    SamplingRules,
    processed,
)
from service.engine.sampling.top_candidates import top_candidates


@dataclass(frozen=True, slots=True)
class BeamCandidates:
    """Ways to go on from one beam, best first (ties: lower id), (K,) each.

    rankings: ln P after bans and biases, by which beams are chosen; logprobs: as the model gave it.
    """

    ids: NDArray[np.int64]
    rankings: NDArray[np.float64]
    logprobs: NDArray[np.float64]


def beam_candidates(
    heads: Floats,
    tokens: Sequence[Sequence[int]],
    rules: SamplingRules,
    prompt: PromptTokens,
    width: int,
    logits: Callable[[], Floats],
) -> list[BeamCandidates]:
    """Of each row of `heads` (R, V): its `width` best, and the `width` best that do not stop.

    Fewer where the settings exclude the others. tokens: what each row's hypothesis has already.
    logits: (R, V) before normalisation, asked only where a setting needs them.
    """
    rows, vocab = heads.copy(), heads.shape[1]
    states = [_state_after(rules, prompt, generated) for generated in tokens]
    stops = rules.stop_ids
    with processed(rows, states, logits):
        # Where few tokens stop, one search finds enough that do not.
        count = width + (len(stops) if len(stops) <= width else 0)
        best = top_candidates(rows, min(count, vocab))
        ids, values = best.ids, best.values
        if len(stops) > width:
            rows[:, stops] = -np.inf
            others = top_candidates(rows, min(width, vocab))
            ids = np.concatenate([ids, others.ids], axis=1)
            values = np.concatenate([values, others.values], axis=1)
    return [
        _candidates(head, own, value, len(stops) > width)
        for head, own, value in zip(heads, ids, values, strict=True)
    ]


def _state_after(
    rules: SamplingRules, prompt: PromptTokens, generated: Sequence[int]
) -> SampleState:
    """What the settings look back at, where any of them does."""
    state = SampleState(rules, 0, prompt)
    if rules.looks_back or state.guide is not None:
        for token in generated:
            state.append(token)
    return state


def _candidates(
    head: Floats, ids: NDArray[np.int64], values: Floats, may_repeat: bool
) -> BeamCandidates:
    if may_repeat:
        ids, first = np.unique(ids, return_index=True)
        order = np.lexsort((ids, -values[first]))
        ids, values = ids[order], values[first][order]
    kept = values > -np.inf
    ids = ids[kept]
    return BeamCandidates(ids, values[kept].astype(np.float64), head[ids].astype(np.float64))
