from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.runners.onnx_session import integer_products_are_exact


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
