"""The matrix products of one step and nothing else, in ONNX Runtime's plain int8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from models.config import ModelConfig

_OPSET, _IR_VERSION = 18, 9


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


def int8_products(config: ModelConfig, rows: int, threads: int) -> Callable[[], None]:
    """A call that does the products once: uint8 (rows, inputs) times constant int8 -> int32.

    MatMulInteger with the zero point of 128 that unsigned activations have; weights are packed when
    the session is built, inputs and outputs are bound to fixed memory.
    """
    draw = np.random.default_rng(0)
    nodes, constants, inputs, outputs = [], [], [], []
    constants.append(numpy_helper.from_array(np.array(128, np.uint8), "zero"))
    for k, (width, height) in enumerate(product_shapes(config)):
        weight = draw.integers(-127, 128, (width, height), np.int8)
        constants.append(numpy_helper.from_array(weight, f"w{k}"))
        nodes.append(helper.make_node("MatMulInteger", [f"x{k}", f"w{k}", "zero"], [f"y{k}"]))
        inputs.append(helper.make_tensor_value_info(f"x{k}", TensorProto.UINT8, [rows, width]))
        outputs.append(helper.make_tensor_value_info(f"y{k}", TensorProto.INT32, [rows, height]))
    graph = helper.make_graph(nodes, "products", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR_VERSION
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    for k, (width, height) in enumerate(product_shapes(config)):
        x = draw.integers(0, 256, (rows, width), np.uint8)
        binding.bind_ortvalue_input(f"x{k}", ort.OrtValue.ortvalue_from_numpy(x))
        y = ort.OrtValue.ortvalue_from_shape_and_type([rows, height], np.int32)
        binding.bind_ortvalue_output(f"y{k}", y)
    return lambda: session.run_with_iobinding(binding)
