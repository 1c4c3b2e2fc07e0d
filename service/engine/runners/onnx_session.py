"""ONNX models of our own and the sessions that run them: one format, one way of running.

Whether int8 products are exact is asked of the processor: x86 without VNNI multiplies pairs of
bytes into 16 bits (vpmaddubsw), and sums beyond that range are cut off without a word: 2 * 255 *
127 is twice too large. Large weights would then give log-probabilities that are wrong by more than
any rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import DTypeLike, NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

# What every ONNX Runtime from 1.15 on reads.
_OPSET, _IR_VERSION = 18, 9


def declare(name: str, shape: Sequence[str | int], dtype: DTypeLike = np.float32) -> ValueInfoProto:
    """An input or output; names among `shape` are sizes that may vary."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, list(shape))


def constant(name: str, value: NDArray[Any]) -> TensorProto:
    """An initializer of a graph, of the value's own shape and type."""
    # A scalar stays one, which `ascontiguousarray` alone would not leave it.
    return numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)


def block_reduction(
    op: str, values: str, size: int, output: str
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Nodes and their constants: `op` over blocks of `size` neighbours, (R, V) -> (R, V / size)."""
    constants: Mapping[str, NDArray[np.int64]] = {
        "shape": np.array([0, -1, size]),
        "axis": np.array([2]),
    }
    nodes = [
        helper.make_node("Reshape", [values, "shape"], ["blocks"]),
        helper.make_node(op, ["blocks", "axis"], [output], keepdims=0),
    ]
    return nodes, [constant(name, value) for name, value in constants.items()]


def serialize(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: Sequence[TensorProto],
) -> bytes:
    """Bytes of a model, for `new_session`."""
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    data: bytes = model.SerializeToString()
    return data


def new_session(model: bytes, threads: int = 1) -> ort.InferenceSession:
    """A session that computes in `threads` threads, none of which waits by spinning."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # A spinning thread would take the core that the HTTP process needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


_SIZES = ((1, 64, 32), (16, 64, 32))  # rows, inputs, outputs: vectors have kernels of their own


def integer_products_are_exact() -> bool:
    """Multiply the largest activations with the largest weights; a millisecond or two."""
    return all(_is_exact(*size) for size in _SIZES)


def _is_exact(rows: int, inputs: int, outputs: int) -> bool:
    x = np.full((rows, inputs), 255, np.uint8)
    weight = np.full((inputs, outputs), 127, np.int8)
    weight[:, 1::2] = -127
    product = helper.make_node("MatMulInteger", ["x", "weight", "zero"], ["product"])
    model = serialize(
        [product],
        [declare("x", x.shape, np.uint8)],
        [declare("product", [rows, outputs], np.int32)],
        [constant("weight", weight), constant("zero", np.array(128, np.uint8))],
    )
    found = new_session(model).run(None, {"x": x})[0]
    return np.array_equal(found, (x.astype(np.int32) - 128) @ weight.astype(np.int32))
