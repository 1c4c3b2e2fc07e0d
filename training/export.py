"""A checkpoint as plain ONNX graphs, for programs that know nothing of this package.

`step.onnx`: ids (B,) and the state -> ln P of what follows (B, V) and the state after them.
`sequence.onnx`: ids (T, B) and the state -> (T, B, V) and the state. The state is, for every layer
k, `h{k}` and `c{k}` of shape (1, B, H); begin with zeros and the begin token. Float32 throughout.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto

from models.checkpoint import Checkpoint
from training.evaluate import model_of
from training.onnx_graph import Graph

STEP, SEQUENCE = "step.onnx", "sequence.onnx"
_TOLERANCE = 1e-3  # in nats, on random ids


def export(checkpoint: Checkpoint, folder: Path) -> float:
    """Write both graphs; returns their largest distance from the network in torch, in nats.

    Raises ValueError for networks that are no plain LSTM, RuntimeError where the graphs disagree.
    """
    graphs = {STEP: _graph(checkpoint, is_step=True), SEQUENCE: _graph(checkpoint, is_step=False)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        (folder / name).write_bytes(graph)
    checkpoint.tokenizer.save(folder / "tokenizer.model")
    distance = _distance(checkpoint, folder)
    if distance > _TOLERANCE:
        raise RuntimeError(f"the exported graphs are {distance:.2g} nats away from the network")
    return distance


def _graph(checkpoint: Checkpoint, *, is_step: bool) -> bytes:
    config = checkpoint.model
    graph = Graph(config, checkpoint.weights)
    layers, time = range(config.num_layers), [] if is_step else ["T"]
    ids = graph.add("Unsqueeze", ["ids", graph.ints(0)], "ids_t") if is_step else "ids"
    states = [[f"{part}{k}" for k in layers] for part in "hc"]
    features = graph.network(ids, *states, after="next")
    if is_step:
        logprobs = graph.logprobs(features, "logprobs_t")
        graph.add("Squeeze", [logprobs, graph.ints(0)], "logprobs")
    else:
        graph.logprobs(features, "logprobs")
    shapes: dict[str, tuple[int, Sequence[str | int]]] = {
        f"{part}{k}": (TensorProto.FLOAT, [1, "B", config.hidden_sizes[k]])
        for k in layers
        for part in "hc"
    }
    return graph.serialize(
        {"ids": (TensorProto.INT64, [*time, "B"]), **shapes},
        {
            "logprobs": (TensorProto.FLOAT, [*time, "B", config.vocab_size]),
            **{f"next_{name}": shape for name, shape in shapes.items()},
        },
        {"checkpoint_digest": checkpoint.digest},
    )


@torch.no_grad()
def _distance(checkpoint: Checkpoint, folder: Path) -> float:
    """Both graphs in ONNX Runtime against the plain equations, on random ids."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when the library is loaded
    import onnxruntime

    config, model = checkpoint.model, model_of(checkpoint)
    ids = np.random.default_rng(0).integers(config.vocab_size, size=(6, 2))
    state: Any = model.initial_state(2)
    expected = []
    for row in ids:
        logprobs, state = model.step(torch.from_numpy(row), state)
        expected.append(logprobs.numpy())
    feed = {
        f"{part}{k}": np.zeros((1, 2, hidden), np.float32)
        for k, hidden in enumerate(config.hidden_sizes)
        for part in ("h", "c")
    }
    whole = onnxruntime.InferenceSession(folder / SEQUENCE).run(["logprobs"], {"ids": ids, **feed})
    session = onnxruntime.InferenceSession(folder / STEP)
    stepped = []
    for row in ids:
        logprobs, *states = session.run(None, {"ids": row, **feed})
        stepped.append(logprobs)
        feed = dict(zip(feed, states, strict=True))
    return float(max(np.abs(whole[0] - expected).max(), np.abs(np.stack(stepped) - expected).max()))
