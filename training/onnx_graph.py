"""The network as a graph of ONNX's own operators, from which every exported form is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.config import ModelConfig
from models.weights import Weights

_OPSET, _IR = 17, 8  # what ONNX Runtime of the last years reads


class Graph:
    """Nodes and constants under construction; every method returns the name of its result."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        if config.architecture != "lstm" or config.adaptive_cutoffs:
            raise ValueError("export knows LSTM networks with an ordinary softmax only")
        self.config, self.weights = config, weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        if all(own.name != name for own in self.constants):
            self.constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def network(self, ids: str, h: Sequence[str], c: Sequence[str], *, after: str = "after") -> str:
        """Features (T, N, H_last) of `ids` (T, N); `{after}_{h,c}{k}` are the states after them.

        h, c: by layer (1, N, H_k).
        """
        embedding = self.constant("embedding", self.weights["embedding.weight"])
        x = self.add("Gather", [embedding, ids], "embedded", axis=0)
        for k, size in enumerate(self.config.hidden_sizes):
            parts = [self._matrix(k, own) for own in ("weight_ih", "weight_hh")]
            bias = _reordered(self.weights[f"layers.{k}.bias"])
            both = np.concatenate([bias, np.zeros_like(bias)])[None]
            parts.append(self.constant(f"bias{k}", both))
            outputs = [f"y{k}.directions", f"{after}_h{k}", f"{after}_c{k}"]
            inputs = [x, *parts, "", h[k], c[k]]
            self.nodes.append(helper.make_node("LSTM", inputs, outputs, hidden_size=size))
            y = self.add("Squeeze", [outputs[0], self.ints(1)], f"y{k}")
            x = self.add("Add", [x, y], f"skip{k}") if self.config.has_skip(k) else y
        return x

    def _matrix(self, layer: int, name: str) -> str:
        matrix = _reordered(self.weights[f"layers.{layer}.{name}"])
        return self.constant(f"{name}{layer}", matrix[None])

    def logprobs(self, features: str, output: str) -> str:
        """ln P of what follows, (..., V)."""
        tied = self.config.tie_weights
        name = "embedding.weight" if tied else "output.weight"
        matrix = self.constant("softmax", self.weights[name].T)
        logits = self.add("MatMul", [features, matrix], "logits")
        return self.add("LogSoftmax", [logits], output, axis=-1)

    def split_state(self, name: str) -> list[str]:
        """(layers, N, H) -> by layer (1, N, H)."""
        outputs = [f"{name}.{k}" for k in range(self.config.num_layers)]
        ones = self.ints(*[1] * self.config.num_layers)
        self.nodes.append(helper.make_node("Split", [name, ones], outputs, axis=0))
        return outputs

    def serialize(
        self,
        inputs: Mapping[str, tuple[int, Sequence[str | int]]],
        outputs: Mapping[str, tuple[int, Sequence[str | int]]],
        metadata: Mapping[str, str],
    ) -> bytes:
        def declared(
            values: Mapping[str, tuple[int, Sequence[str | int]]],
        ) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(k, *own) for k, own in values.items()]

        graph = helper.make_graph(
            self.nodes, "lstm_language_model", declared(inputs), declared(outputs), self.constants
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = _IR
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def _reordered(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gates i, f, g, o as ONNX has them: i, o, f, g."""
    i, f, g, o = np.split(rows, 4)
    return np.concatenate([i, o, f, g])
