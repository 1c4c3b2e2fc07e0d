"""Known answers: a loaded kernel's numbers beside those of the equations, written out plainly.

A damaged build, a library that computes something else, or weights whose products overflow are
found before the first request, not by a client.
"""

from __future__ import annotations

import numpy as np

from models.config import ModelConfig
from models.weights import Weights
from service.engine.request import Floats
from service.engine.runners.base import ModelRunner

_TOKENS = 6
# Nats: float32 sums in another order, and products of rounded bytes (0.005 in trained models).
_LARGEST_MEAN_GAP = {"fp32": 0.01, "int8": 0.5}


def check_known_answers(runner: ModelRunner, config: ModelConfig, weights: Weights) -> None:
    """Raise ValueError where the runner's log-probabilities are not those of the model.

    A fixed walk through the vocabulary; its rows are given back in the state of nothing.
    """
    ids = np.random.default_rng(3).integers(config.vocab_size, size=_TOKENS)
    expected = plain_logprobs(config, weights, ids)
    runner.write_states(0, [None])
    found = np.empty_like(expected)
    for position, token in enumerate(ids):
        runner.step(np.array([token]))
        found[position] = runner.logprobs(np.array([0]))[0]
    runner.write_states(0, [None])
    if not np.isfinite(found).all():
        raise ValueError("the model's log-probabilities are not finite: its weights overflow")
    gap = float(np.abs(found - expected).mean())
    if not gap <= _LARGEST_MEAN_GAP.get(runner.arithmetic, _LARGEST_MEAN_GAP["int8"]):
        raise ValueError(
            f"self-check failed: log-probabilities are {gap:.3g} nats away from the model's own; "
            "the kernel does not compute what it should on this machine"
        )


def plain_logprobs(config: ModelConfig, weights: Weights, ids: np.ndarray) -> Floats:
    """ln P of what follows each of `ids`, (len(ids), V), by the LSTM's equations.

    Hochreiter and Schmidhuber 1997 with forget gates (Gers et al. 2000); gates in the order
    i, f, g, o.
    """
    h = [np.zeros(size, np.float32) for size in config.hidden_sizes]
    c = [np.zeros(size, np.float32) for size in config.hidden_sizes]
    output = weights["embedding.weight" if config.tie_weights else "output.weight"]
    rows = []
    with np.errstate(all="ignore"):  # what overflows is told by the caller
        for token in ids:
            x = weights["embedding.weight"][token]
            for k in range(config.num_layers):
                gates = (
                    weights[f"layers.{k}.weight_ih"] @ x + weights[f"layers.{k}.weight_hh"] @ h[k]
                )
                i, f, g, o = np.split(gates + weights[f"layers.{k}.bias"], 4)
                c[k] = _sigmoid(f) * c[k] + _sigmoid(i) * np.tanh(g)
                h[k] = _sigmoid(o) * np.tanh(c[k])
                x = h[k] + x if config.has_skip(k) else h[k]
            logits = output @ x
            shifted = logits - logits.max()
            rows.append(shifted - np.log(np.exp(shifted).sum()))
    return np.stack(rows).astype(np.float32)


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 0.5 * (1 + np.tanh(0.5 * x))
    return result
