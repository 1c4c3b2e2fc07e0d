"""The step of an LSTM language model as ONNX graphs, built in memory from numpy weights.

Two graphs share one notation. `step` advances rows by one token: (input products of layer 0 taken
from a table, h, c) -> next h, c and features. `head` maps features to log-probabilities.

Every operation works on rows alone, so a row's numbers cannot depend on its neighbours. In int8
the matrix products are exact integer sums: weights have one scale a row of the matrix, activations
one scale a layer (a power of two over 127, see
`models.activation_scales`), as uint8 with zero point 128: signed int8 activations have no fast
kernel on x86. The products' scaling is fused into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from models.activation_scales import ActivationScales
from models.config import ModelConfig
from models.weights import Weights, quantize_rows
from service.engine.runners.onnx_session import constant, declare, serialize

Arithmetic = Literal["int8", "fp32"]
_GATES = "ifgo"


@dataclass
class _Graph:
    """Nodes and constants under construction."""

    arithmetic: Arithmetic
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    quantized: dict[str, str] = field(default_factory=dict)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(constant(name, value))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def product(
        self,
        x: str,
        weight: NDArray[np.float32],
        output: str,
        scale: float,
        bias: NDArray[np.float32] | None = None,
    ) -> str:
        """x (B, I) @ weight.T + bias, weight (O, I), bias (O,); scale: int8 step of x."""
        biases = [] if bias is None else [self.constant(f"{output}.bias", bias)]
        if self.arithmetic == "fp32":
            product = f"{output}.product" if biases else output
            self.add("MatMul", [x, self.constant(f"{output}.w", weight.T)], product)
            return self.add("Add", [product, *biases], output) if biases else output
        if x not in self.quantized:
            self._quantize(x, scale)
        integers, scales = quantize_rows(weight)
        operands = [
            self.quantized[x],
            self.constant(f"{output}.w", integers.T),
            f"{x}.scale",
            self.constant(f"{output}.scales", scales),
            f"{x}.zero",
        ]
        if biases:
            operands += ["", *biases]  # between them, a zero point of the weights: none
        return self.add("MatMulIntegerToFloat", operands, output, domain="com.microsoft")

    def _quantize(self, x: str, scale: float) -> None:
        self.constant(f"{x}.scale", np.array(scale, np.float32))
        self.constant(f"{x}.zero", np.array(128, np.uint8))
        operands = [x, f"{x}.scale", f"{x}.zero"]
        self.quantized[x] = self.add("QuantizeLinear", operands, f"{x}.q")

    def serialize(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """Model bytes; every input and output is a (B, width) float matrix."""

        def rows(widths: dict[str, int]) -> list[onnx.ValueInfoProto]:
            return [declare(name, ["B", width]) for name, width in widths.items()]

        return serialize(self.nodes, rows(inputs), rows(outputs), self.constants)


def input_table(weights: Weights) -> NDArray[np.float32]:
    """Layer 0's input product and bias for every token, gate by gate: row gate * V + token.

    (4 V, H_0), gates in the order i, f, g, o.
    """
    gates = zip(
        np.split(weights["layers.0.weight_ih"], 4),
        np.split(weights["layers.0.bias"], 4),
        strict=True,
    )
    embedding = weights["embedding.weight"]
    return np.concatenate([embedding @ weight.T + bias for weight, bias in gates])


def build_step(
    config: ModelConfig, weights: Weights, arithmetic: Arithmetic, scales: ActivationScales
) -> bytes:
    """Graph `step`: x0{gate}, h{k}, c{k} (B, H_k) -> next_h{k}, next_c{k}, features.

    With a skip connection around layer 0 its embedding enters too, as x (B, E). `features` is an
    output only where skip connections make it differ from the last h.
    """
    graph = _Graph(arithmetic)
    inputs = dict.fromkeys(entering_names(0), config.hidden_sizes[0])
    outputs: dict[str, int] = {}
    x = "x"
    if config.has_skip(0):
        inputs["x"] = config.embedding_size
    for k, size in enumerate(config.hidden_sizes):
        inputs |= {f"h{k}": size, f"c{k}": size}
        outputs |= {f"next_h{k}": size, f"next_c{k}": size}
        if k:
            _add_input(graph, config, weights, scales, k, x)
        _add_cell(graph, weights, scales, k)
        x = _add_skip(graph, config, k, x)
    if x.startswith("skip"):
        graph.add("Identity", [x], "features")
        outputs["features"] = config.hidden_sizes[-1]
    return graph.serialize(inputs, outputs)


def build_input(
    config: ModelConfig,
    weights: Weights,
    arithmetic: Arithmetic,
    scales: ActivationScales,
    layer: int,
) -> bytes:
    """Graph `input`: x (T, I) -> x{k}{gate} (T, H): the input product of a layer past the first,
    for many steps at once, with the bits that `step` gives one by one."""
    graph = _Graph(arithmetic)
    _add_input(graph, config, weights, scales, layer, "x")
    outputs = dict.fromkeys(entering_names(layer), config.hidden_sizes[layer])
    return graph.serialize({"x": config.input_sizes[layer]}, outputs)


def build_cell(
    config: ModelConfig,
    weights: Weights,
    arithmetic: Arithmetic,
    scales: ActivationScales,
    layer: int,
) -> bytes:
    """Graph `cell`: x{k}{gate}, h, c (B, H) -> next_h, next_c: one step of one layer."""
    graph, size = _Graph(arithmetic), config.hidden_sizes[layer]
    _add_cell(graph, weights, scales, layer)
    inputs = dict.fromkeys([*entering_names(layer), f"h{layer}", f"c{layer}"], size)
    return graph.serialize(inputs, {f"next_h{layer}": size, f"next_c{layer}": size})


def entering_names(layer: int) -> list[str]:
    """What enters the gates i, f, g, o of a layer besides its recurrence.

    Each gate has products of its own: cutting one wide result into four would cost a copy of it.
    """
    return [f"x{layer}{gate}" for gate in _GATES]


def _add_input(
    graph: _Graph,
    config: ModelConfig,
    weights: Weights,
    scales: ActivationScales,
    k: int,
    x: str,
) -> None:
    assert 0 < k < config.num_layers
    parts = np.split(weights[f"layers.{k}.weight_ih"], 4)
    biases = np.split(weights[f"layers.{k}.bias"], 4)
    for name, weight, bias in zip(entering_names(k), parts, biases, strict=True):
        graph.product(x, weight, name, scales.inputs[k], bias)


def _add_cell(graph: _Graph, weights: Weights, scales: ActivationScales, k: int) -> None:
    """c' = sigmoid(f) c + sigmoid(i) tanh(g); h' = sigmoid(o) tanh(c'); gate order i f g o."""
    parts = np.split(weights[f"layers.{k}.weight_hh"], 4)
    for gate, entering, weight in zip(_GATES, entering_names(k), parts, strict=True):
        recurrent = graph.product(f"h{k}", weight, f"recurrent{k}{gate}", scales.hidden[k])
        graph.add("Add", [recurrent, entering], f"{gate}{k}.in")
        graph.add("Tanh" if gate == "g" else "Sigmoid", [f"{gate}{k}.in"], f"{gate}{k}")
    kept = graph.add("Mul", [f"f{k}", f"c{k}"], f"kept{k}")
    added = graph.add("Mul", [f"i{k}", f"g{k}"], f"added{k}")
    graph.add("Add", [kept, added], f"next_c{k}")
    graph.add("Tanh", [f"next_c{k}"], f"squashed{k}")
    graph.add("Mul", [f"o{k}", f"squashed{k}"], f"next_h{k}")


def _add_skip(graph: _Graph, config: ModelConfig, k: int, x: str) -> str:
    if not config.has_skip(k):
        return f"next_h{k}"
    return graph.add("Add", [f"next_h{k}", x], f"skip{k}")


def build_head(
    config: ModelConfig, weights: Weights, arithmetic: Arithmetic, scales: ActivationScales
) -> bytes:
    """Graph `head`: features (B, H_last) -> logprobs (B, V) and, where fetched, logits (B, V)."""
    graph = _Graph(arithmetic)
    name = "embedding.weight" if config.tie_weights else "output.weight"
    graph.product("features", weights[name], "logits", scales.inputs[-1])
    graph.add("LogSoftmax", ["logits"], "logprobs", axis=1)
    outputs = {"logprobs": config.vocab_size, "logits": config.vocab_size}
    return graph.serialize({"features": config.hidden_sizes[-1]}, outputs)
