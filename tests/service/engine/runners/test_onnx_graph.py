"""Each graph alone, against its equations in numpy; in int8 against exact integer sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models.activation_scales import ActivationScales, calibrate
from models.config import ModelConfig
from models.weights import Weights, quantize_rows
from service.engine.runners.onnx_graph import (
    Arithmetic,
    build_cell,
    build_head,
    build_input,
    build_step,
    entering_names,
    input_table,
)
from service.engine.runners.onnx_session import integer_products_are_exact, new_session
from tests.service.engine.small_models import SHAPES, random_weights

Array = NDArray[np.float32]
shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
int8 = pytest.param(
    "int8",
    marks=pytest.mark.skipif(
        not integer_products_are_exact(), reason="this processor's integer products saturate"
    ),
)
CLOSE = 2e-6  # sums of some tens of float32 products


def parts(config: ModelConfig) -> tuple[Weights, ActivationScales]:
    weights = random_weights(config)
    return weights, calibrate(config, weights)


def some_rows(width: int, seed: int = 0, rows: int = 3) -> Array:
    return np.random.default_rng(seed).uniform(-0.9, 0.9, (rows, width)).astype(np.float32)


def run(model: bytes, inputs: dict[str, Array]) -> dict[str, Array]:
    session = new_session(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def product(x: Array, weight: Array, arithmetic: Arithmetic, scale: float) -> NDArray[np.float64]:
    """x @ weight.T: in int8 of rounded activations and weights, summed in integers."""
    if arithmetic == "fp32":
        return x.astype(np.float64) @ weight.T.astype(np.float64)
    integers, scales = quantize_rows(weight)
    rounded = np.clip(np.rint(x / np.float32(scale)), -128, 127).astype(np.int64)
    sums = rounded @ integers.T.astype(np.int64)
    result: NDArray[np.float64] = sums * float(np.float32(scale)) * scales.astype(np.float64)
    return result


def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


@shapes
def test_the_table_is_the_input_product_of_every_token_gate_by_gate(config: ModelConfig) -> None:
    weights, _ = parts(config)
    table = input_table(weights)
    assert table.shape == (4 * config.vocab_size, config.hidden_sizes[0])
    whole = (
        weights["embedding.weight"].astype(np.float64) @ weights["layers.0.weight_ih"].T
        + weights["layers.0.bias"]
    )
    for gate, expected in enumerate(np.split(whole, 4, axis=1)):
        own = table[gate * config.vocab_size : (gate + 1) * config.vocab_size]
        assert np.allclose(own, expected, atol=CLOSE)


def cell(config: ModelConfig, k: int, arithmetic: Arithmetic, given: dict[str, Array]) -> Any:
    """(c', h') by the equations; given: as the graph's inputs."""
    weights, scales = parts(config)
    recurrent = product(
        given[f"h{k}"], weights[f"layers.{k}.weight_hh"], arithmetic, scales.hidden[k]
    )
    entering = np.concatenate([given[name] for name in entering_names(k)], axis=1)
    i, f, g, o = np.split(recurrent + entering, 4, axis=1)
    c = sigmoid(f) * given[f"c{k}"] + sigmoid(i) * np.tanh(g)
    return c, sigmoid(o) * np.tanh(c)


@pytest.mark.parametrize("arithmetic", ["fp32", int8])
@shapes
def test_a_cell_is_the_equations(config: ModelConfig, arithmetic: Arithmetic) -> None:
    weights, scales = parts(config)
    for k, size in enumerate(config.hidden_sizes):
        names = [*entering_names(k), f"h{k}", f"c{k}"]
        given = {name: some_rows(size, seed) for seed, name in enumerate(names)}
        found = run(build_cell(config, weights, arithmetic, scales, k), given)
        c, h = cell(config, k, arithmetic, given)
        assert np.allclose(found[f"next_c{k}"], c, atol=1e-5)
        assert np.allclose(found[f"next_h{k}"], h, atol=1e-5)


@pytest.mark.parametrize("arithmetic", ["fp32", int8])
@shapes
def test_what_enters_a_later_layer_is_its_product_and_bias(
    config: ModelConfig, arithmetic: Arithmetic
) -> None:
    weights, scales = parts(config)
    for k in range(1, config.num_layers):
        x = some_rows(config.input_sizes[k], k)
        found = run(build_input(config, weights, arithmetic, scales, k), {"x": x})
        whole = product(x, weights[f"layers.{k}.weight_ih"], arithmetic, scales.inputs[k])
        whole = whole + weights[f"layers.{k}.bias"]
        for name, expected in zip(entering_names(k), np.split(whole, 4, axis=1), strict=True):
            assert np.allclose(found[name], expected, atol=1e-5)


@pytest.mark.parametrize("arithmetic", ["fp32", int8])
@shapes
def test_a_step_is_its_layers_one_after_another(
    config: ModelConfig, arithmetic: Arithmetic
) -> None:
    """To the bit: cells and inputs built alone are what many steps at once are made of."""
    weights, scales = parts(config)
    given = {name: some_rows(config.hidden_sizes[0], s) for s, name in enumerate(entering_names(0))}
    for k, size in enumerate(config.hidden_sizes):
        given |= {f"h{k}": some_rows(size, 10 + k), f"c{k}": some_rows(size, 20 + k)}
    x = some_rows(config.embedding_size, 30)
    whole = run(
        build_step(config, weights, arithmetic, scales),
        given | ({"x": x} if config.has_skip(0) else {}),
    )
    entering = {name: given[name] for name in entering_names(0)}
    for k in range(config.num_layers):
        if k:
            entering = run(build_input(config, weights, arithmetic, scales, k), {"x": x})
        own = entering | {f"h{k}": given[f"h{k}"], f"c{k}": given[f"c{k}"]}
        found = run(build_cell(config, weights, arithmetic, scales, k), own)
        for name in (f"next_h{k}", f"next_c{k}"):
            assert np.array_equal(found[name], whole[name])
        x = found[f"next_h{k}"] + x if config.has_skip(k) else found[f"next_h{k}"]
    last = config.num_layers - 1
    assert ("features" in whole) == config.has_skip(last)
    if config.has_skip(last):
        assert np.array_equal(whole["features"], x)


@pytest.mark.parametrize("arithmetic", ["fp32", int8])
@shapes
def test_the_head_is_a_softmax_of_the_products(config: ModelConfig, arithmetic: Arithmetic) -> None:
    weights, scales = parts(config)
    features = some_rows(config.hidden_sizes[-1])
    found = run(build_head(config, weights, arithmetic, scales), {"features": features})
    name = "embedding.weight" if config.tie_weights else "output.weight"
    logits = product(features, weights[name], arithmetic, scales.inputs[-1])
    assert np.allclose(found["logits"], logits, atol=1e-5)
    totals = np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert np.allclose(found["logprobs"], logits - totals, atol=1e-5)


def test_int8_weights_are_stored_as_bytes_and_each_input_is_rounded_once() -> None:
    config = SHAPES["tied"]
    weights, scales = parts(config)
    graph = onnx.load_from_string(build_step(config, weights, "int8", scales)).graph
    matrices = [own for own in graph.initializer if own.name.endswith(".w")]
    assert len(matrices) == 4 * (2 * config.num_layers - 1)
    assert {own.data_type for own in matrices} == {onnx.TensorProto.INT8}
    rounded = [node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(rounded) == ["h0", "h1", "next_h0"]
    exact = onnx.load_from_string(build_step(config, weights, "fp32", scales)).graph
    assert {own.data_type for own in exact.initializer} == {onnx.TensorProto.FLOAT}
