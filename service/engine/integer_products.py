"""Whether this processor's int8 matrix products are exact.

x86 without VNNI multiplies pairs of bytes into 16 bits (vpmaddubsw), and sums beyond that range are
cut off without a word: 2 * 255 * 127 is twice too large. Large weights would then give log-
probabilities that are wrong by more than any rounding.
"""

from __future__ import annotations

import numpy as np
from onnx import helper

from service.engine.onnx_session import constant, declare, new_session, serialize

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
