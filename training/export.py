"""A checkpoint as plain ONNX graphs, for programs that know nothing of this package.

`step.onnx`: ids (B,) and the state -> ln P of what follows (B, V) and the state after them.
`sequence.onnx`: ids (T, B) and the state -> (T, B, V) and the state. The state is, for every layer
k, `h{k}` and `c{k}` of shape (1, B, H); begin with zeros and the begin token. Float32 throughout.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.checkpoint import Checkpoint
from models.config import ModelConfig
from training.evaluate import model_of

STEP, SEQUENCE = "step.onnx", "sequence.onnx"
_OPSET = 17
_GATES = (0, 3, 1, 2)  # ONNX orders i o f c, this package i f g o
_TOLERANCE = 1e-3  # in nats, on random ids


def export(checkpoint: Checkpoint, folder: Path) -> float:
    """Write both graphs; returns their largest distance from the network in torch, in nats.

    Raises ValueError for networks that are no plain LSTM, RuntimeError where the graphs disagree.
    """
    config = checkpoint.model
    if config.architecture != "lstm" or config.adaptive_cutoffs:
        raise ValueError("export knows LSTM networks with an ordinary softmax only")
    folder.mkdir(parents=True, exist_ok=True)
    for name, is_step in ((STEP, True), (SEQUENCE, False)):
        onnx.save(_graph(checkpoint, is_step=is_step), folder / name)
    checkpoint.tokenizer.save(folder / "tokenizer.model")
    distance = _distance(checkpoint, folder)
    if distance > _TOLERANCE:
        raise RuntimeError(f"the exported graphs are {distance:.2g} nats away from the network")
    return distance


def _graph(checkpoint: Checkpoint, *, is_step: bool) -> onnx.ModelProto:
    config, weights = checkpoint.model, checkpoint.weights
    nodes: list[Any] = []
    constants = [_constant("embedding", weights["embedding.weight"])]
    constants += [_constant("axis0", np.array([0])), _constant("axis1", np.array([1]))]
    ids = "ids"
    if is_step:
        nodes.append(helper.make_node("Unsqueeze", ["ids", "axis0"], ["ids_t"]))
        ids = "ids_t"
    nodes.append(helper.make_node("Gather", ["embedding", ids], ["x0"]))
    x = "x0"
    for k, hidden in enumerate(config.hidden_sizes):
        constants += _layer_constants(weights, k, hidden)
        names = [x, f"W{k}", f"R{k}", f"B{k}", "", f"h{k}", f"c{k}"]
        outputs = [f"y{k}", f"next_h{k}", f"next_c{k}"]
        nodes.append(helper.make_node("LSTM", names, outputs, hidden_size=hidden))
        nodes.append(helper.make_node("Squeeze", [f"y{k}", "axis1"], [f"s{k}"]))
        following = f"s{k}"
        if config.has_skip(k):
            nodes.append(helper.make_node("Add", [following, x], [f"skip{k}"]))
            following = f"skip{k}"
        x = following
    output = weights["embedding.weight" if config.tie_weights else "output.weight"]
    constants.append(_constant("output", np.ascontiguousarray(output.T)))
    nodes.append(helper.make_node("MatMul", [x, "output"], ["logits"]))
    last = "logprobs_t" if is_step else "logprobs"
    nodes.append(helper.make_node("LogSoftmax", ["logits"], [last], axis=-1))
    if is_step:
        nodes.append(helper.make_node("Squeeze", [last, "axis0"], ["logprobs"]))
    return _model(config, nodes, constants, is_step=is_step)


def _layer_constants(weights: Any, k: int, hidden: int) -> list[onnx.TensorProto]:
    def ordered(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        gates = matrix.reshape(4, hidden, -1)[list(_GATES)]
        return gates.reshape(1, 4 * hidden, -1)

    bias = ordered(weights[f"layers.{k}.bias"])[..., 0]
    return [
        _constant(f"W{k}", ordered(weights[f"layers.{k}.weight_ih"])),
        _constant(f"R{k}", ordered(weights[f"layers.{k}.weight_hh"])),
        _constant(f"B{k}", np.concatenate([bias, np.zeros_like(bias)], axis=1)),
    ]


def _constant(name: str, value: NDArray[Any]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(value), name)


def _model(
    config: ModelConfig, nodes: list[Any], constants: list[Any], *, is_step: bool
) -> onnx.ModelProto:
    time: list[Any] = [] if is_step else ["T"]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [*time, "B"])]
    outputs = [
        helper.make_tensor_value_info(
            "logprobs", TensorProto.FLOAT, [*time, "B", config.vocab_size]
        )
    ]
    for k, hidden in enumerate(config.hidden_sizes):
        for part in ("h", "c"):
            shape: list[str | int | None] = [1, "B", hidden]
            inputs.append(helper.make_tensor_value_info(f"{part}{k}", TensorProto.FLOAT, shape))
            outputs.append(
                helper.make_tensor_value_info(f"next_{part}{k}", TensorProto.FLOAT, shape)
            )
    graph = helper.make_graph(nodes, "lstm_serve", inputs, outputs, constants)
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model)
    return model


@torch.no_grad()
def _distance(checkpoint: Checkpoint, folder: Path) -> float:
    """Both graphs in ONNX Runtime against the plain equations, on random ids."""
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
