from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from service.engine.runners.onnx_session import (
    block_reduction,
    constant,
    declare,
    integer_products_are_exact,
    new_session,
    serialize,
)


@pytest.mark.parametrize(("op", "expected"), [("ReduceMax", np.max), ("ReduceSum", np.sum)])
def test_blocks_are_reduced_side_by_side(op: str, expected: np.ufunc) -> None:
    nodes, constants = block_reduction(op, "values", 4, "out")
    model = serialize(
        nodes, [declare("values", ["R", "V"])], [declare("out", ["R", "B"])], constants
    )
    values = np.arange(24, dtype=np.float32).reshape(2, 12) % 7
    found = new_session(model).run(None, {"values": values})[0]
    assert np.array_equal(found, expected(values.reshape(2, 3, 4), axis=2))


def test_a_constant_keeps_its_shape_and_a_transposed_one_its_values() -> None:
    """A scalar scale must not become a vector, nor a transposed view its own memory's order."""
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3).T
    product = helper.make_node("MatMul", ["x", "matrix"], ["y"])
    scaled = helper.make_node("Mul", ["y", "two"], ["z"])
    constants = [constant("matrix", matrix), constant("two", np.array(2, np.float32))]
    model = serialize(
        [product, scaled], [declare("x", ["R", 3])], [declare("z", ["R", 2])], constants
    )
    x = np.ones((1, 3), np.float32)
    assert np.array_equal(new_session(model, threads=2).run(None, {"x": x})[0], 2 * x @ matrix)
    assert list(constants[1].dims) == []


def test_a_size_that_was_declared_is_held() -> None:
    model = serialize(
        [helper.make_node("Neg", ["x"], ["y"])],
        [declare("x", [2, 3], np.int32)],
        [declare("y", [2, 3], np.int32)],
        [],
    )
    session = new_session(model)
    assert session.run(None, {"x": np.ones((2, 3), np.int32)})[0].dtype == np.int32
    with pytest.raises(Exception, match="invalid dimensions"):
        session.run(None, {"x": np.ones((2, 4), np.int32)})


class Saturating:
    """Sums of two products are cut off at 16 bits, as vpmaddubsw does."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def run(self, _: None, inputs: dict[str, NDArray[np.uint8]]) -> list[NDArray[Any]]:
        x = inputs["x"].astype(np.int64)
        sums = np.clip(2 * x[:, ::2] * 127, -(2**15), 2**15 - 1).sum(axis=1)
        offset = 128 * 127 * x.shape[1]
        column = np.where(np.arange(32) % 2, -(sums[:, None] - offset), sums[:, None] - offset)
        return [column.astype(np.int32)]


def test_a_processor_that_saturates_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.InferenceSession", Saturating)
    assert not integer_products_are_exact()


def test_a_processor_that_does_not_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exact(Saturating):
        def run(self, _: None, inputs: dict[str, NDArray[np.uint8]]) -> list[NDArray[Any]]:
            rows, width = inputs["x"].shape
            sign = 1 - 2 * (np.arange(32) % 2)
            return [np.tile((127 * 127 * width * sign).astype(np.int32), (rows, 1))]

    monkeypatch.setattr("onnxruntime.InferenceSession", Exact)
    assert integer_products_are_exact()
