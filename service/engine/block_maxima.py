"""Maxima of blocks of 32 neighbouring values: where a row's large values lie, in one pass.

ONNX Runtime does it at the speed of memory; numpy reduces short runs ten times more slowly.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime as ort

from service.engine.onnx_session import block_reduction, declare, new_session, serialize
from service.engine.request import Floats

BLOCK = 32


def block_maxima(values: Floats) -> Floats:
    """Of (R, V): (R, V / 32 rounded up); the last block of a row may be shorter."""
    vocab = values.shape[1]
    whole = vocab // BLOCK * BLOCK
    tail: Floats | None = values[:, whole:].max(axis=1, keepdims=True) if whole < vocab else None
    if not whole:
        highest: Floats = values.max(axis=1, keepdims=True)
        return highest
    blocks = np.ascontiguousarray(values[:, :whole])
    maxima: Floats = _session().run(None, {"values": blocks})[0]
    return maxima if tail is None else np.concatenate([maxima, tail], axis=1)


@cache
def _session() -> ort.InferenceSession:
    """values (R, V) -> maxima (R, V / 32): made once, since making it takes a millisecond."""
    nodes, constants = block_reduction("ReduceMax", "values", BLOCK, "maxima")
    inputs, outputs = [declare("values", ["R", "V"])], [declare("maxima", ["R", "B"])]
    return new_session(serialize(nodes, inputs, outputs, constants))
