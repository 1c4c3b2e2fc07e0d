"""The matrix products of one step and nothing else, in ONNX Runtime's plain int8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from onnx import helper

from models.config import ModelConfig
from service.engine.runners.onnx_session import constant, declare, new_session, serialize


def product_shapes(config: ModelConfig) -> list[tuple[int, int]]:
    """(inputs, outputs) of the products a step cannot do without.

    Layer 0's input product comes from a table; a later layer's two are one, over [x, h]; the last
    is the softmax's.
    """
    widths = zip(config.input_sizes, config.hidden_sizes, strict=True)
    shapes = [
        (hidden + (inputs if k else 0), 4 * hidden) for k, (inputs, hidden) in enumerate(widths)
    ]
    return [*shapes, (config.hidden_sizes[-1], config.vocab_size)]


def operations(config: ModelConfig, rows: int) -> int:
    """Multiplications and additions in one step of so many rows."""
    return sum(2 * rows * inputs * outputs for inputs, outputs in product_shapes(config))


def weight_bytes(config: ModelConfig) -> int:
    """What one step reads of them at the least, in int8."""
    return sum(inputs * outputs for inputs, outputs in product_shapes(config))


def reading(num_bytes: int) -> Callable[[], None]:
    """A call that reads so much memory once, on one thread, and does next to nothing with it."""
    memory = np.random.default_rng(0).integers(0, 2**63, num_bytes // 8, np.uint64)

    def read() -> None:
        np.bitwise_or.reduce(memory)

    return read


def int8_products(config: ModelConfig, rows: int, threads: int) -> Callable[[], None]:
    """A call that does the products once: uint8 (rows, inputs) times constant int8 -> int32.

    MatMulInteger with the zero point of 128 that unsigned activations have; weights are packed when
    the session is built, inputs and outputs are bound to fixed memory.
    """
    draw = np.random.default_rng(0)
    nodes, constants, inputs, outputs = [], [], [], []
    constants.append(constant("zero", np.array(128, np.uint8)))
    for k, (width, height) in enumerate(product_shapes(config)):
        weight = draw.integers(-127, 128, (width, height), np.int8)
        constants.append(constant(f"w{k}", weight))
        nodes.append(helper.make_node("MatMulInteger", [f"x{k}", f"w{k}", "zero"], [f"y{k}"]))
        inputs.append(declare(f"x{k}", [rows, width], np.uint8))
        outputs.append(declare(f"y{k}", [rows, height], np.int32))
    session = new_session(serialize(nodes, inputs, outputs, constants), threads)
    binding = session.io_binding()
    for k, (width, height) in enumerate(product_shapes(config)):
        x = draw.integers(0, 256, (rows, width), np.uint8)
        binding.bind_ortvalue_input(f"x{k}", ort.OrtValue.ortvalue_from_numpy(x))
        y = ort.OrtValue.ortvalue_from_shape_and_type([rows, height], np.int32)
        binding.bind_ortvalue_output(f"y{k}", y)
    return lambda: session.run_with_iobinding(binding)
