"""Many steps of one row, layer by layer: for long texts that have the machine to themselves.

A single row's step reads every matrix for one product each. Taken layer by layer, the input
products of all steps are one product of matrices, and in between only the recurrent matrix is read
again and again: it stays in the core's cache. The numbers are those of `step`, to the last bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.config import ModelConfig
from service.engine.request import Floats
from service.engine.runners.onnx_graph import entering_names


class SequenceRunner:
    """Runs up to `length` steps of one row.

    cells, inputs: sessions of the graphs `cell` and `input` of each layer (no input for layer 0).
    table, embedding: layer 0's input products (4, V, H_0), and the embedding where a skip needs it.
    """

    def __init__(
        self,
        config: ModelConfig,
        cells: list[ort.InferenceSession],
        inputs: list[ort.InferenceSession | None],
        table: Floats,
        embedding: Floats | None,
        length: int,
    ) -> None:
        self.config, self.length = config, length
        self._inputs, self._table, self._embedding = inputs, table, embedding
        sizes = config.hidden_sizes
        self._entering = [np.zeros((4, length, size), np.float32) for size in sizes]
        self._h = [np.zeros((length + 1, size), np.float32) for size in sizes]
        self._c = [np.zeros((1, size), np.float32) for size in sizes]
        self._cells = cells
        self._steps = [[self._bind(k, t) for t in range(length)] for k in range(config.num_layers)]

    def _bind(self, k: int, t: int) -> Any:
        """Step t of layer k: reads h at place t and writes it at t + 1; c is replaced in place."""
        binding = self._cells[k].io_binding()
        h, c, entering = self._h[k], self._c[k], self._entering[k][:, t : t + 1]
        inputs = dict(zip(entering_names(k), entering, strict=True))
        for name, array in (inputs | {f"h{k}": h[t : t + 1], f"c{k}": c}).items():
            binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in ((f"next_h{k}", h[t + 1 : t + 2]), (f"next_c{k}", c)):
            binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding

    def run(self, ids: NDArray[np.int64], h: list[Floats], c: list[Floats]) -> Floats:
        """Feed `ids` (T,) from each layer's h and c (H,), which are overwritten by the last ones.

        Returns the features after every step, (T, H_last), valid until the next call.
        """
        count = len(ids)
        x = self._embedding[ids] if self._embedding is not None else None
        for k in range(self.config.num_layers):
            entering = self._entering[k][:, :count]
            if k == 0:
                np.take(self._table, ids, axis=1, out=entering, mode="clip")
            else:
                session = self._inputs[k]
                assert session is not None
                entering[:] = session.run(entering_names(k), {"x": x})
            self._h[k][0], self._c[k][0] = h[k], c[k]
            run = self._cells[k].run_with_iobinding
            for binding in self._steps[k][:count]:
                run(binding)
            h[k][:], c[k][:] = self._h[k][count], self._c[k][0]
            outputs = self._h[k][1 : count + 1]
            if self.config.has_skip(k):
                assert x is not None
                x = outputs + x
            else:
                x = outputs
        assert x is not None
        return x
