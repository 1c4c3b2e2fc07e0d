"""Compact storage of weight matrices: 8-bit integers with one scale a row.

The stored integers *are* the model: every reader sees `integer * scale`, so no two of them differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]
Storage = Literal["float32", "float16", "int8"]
_SCALE = ".scale"


def quantize_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric 8-bit rounding of each row: (R, C) -> integers (R, C), scales (R,).

    `integers * scales[:, None]` is within half a scale of `matrix`; a row of zeros, or of numbers
    too small to scale, has scale 1.
    """
    scales = np.abs(matrix).max(axis=1) / np.float32(127)
    scales[scales < np.finfo(np.float32).tiny] = 1
    integers = np.rint(matrix / scales[:, None]).clip(-127, 127).astype(np.int8)
    return integers, scales


def pack(weights: Mapping[str, NDArray[np.float32]], storage: Storage) -> dict[str, NDArray]:  # type: ignore[type-arg]
    """Tensors as they are stored. Vectors (biases) stay float32 under int8."""
    if storage not in get_args(Storage):
        raise ValueError(f"storage {storage!r} is unknown: choose from {get_args(Storage)}")
    stored: dict[str, NDArray] = {}  # type: ignore[type-arg]
    for name, tensor in weights.items():
        if storage == "int8" and tensor.ndim == 2:
            stored[name], stored[name + _SCALE] = quantize_rows(tensor)
        else:
            stored[name] = tensor.astype(np.float16 if storage == "float16" else np.float32)
    return stored


def unpack(stored: Mapping[str, NDArray]) -> Weights:  # type: ignore[type-arg]
    """Inverse of `pack`: float32 throughout."""
    weights: Weights = {}
    for name, tensor in stored.items():
        if name.endswith(_SCALE):
            continue
        weights[name] = tensor.astype(np.float32)
        if tensor.dtype == np.int8:
            weights[name] *= stored[name + _SCALE][:, None]
    return weights
