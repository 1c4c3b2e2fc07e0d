"""The kernel on torch, for GPUs: one captured CUDA graph for the step, one for the head.

Every launch has the full `max_rows` rows, whatever the batch: the library then always picks the
same algorithm, so a row's numbers do not depend on how many others there are. That is also why
whole sequences are not handed to cuDNN here: its fused kernels sum in another order than the step,
and a resumed text would differ in its last bits from one sent whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.config import ModelConfig
from models.weights import Weights
from service.engine.request import Floats
from service.engine.runners.base import StateLayout


class TorchRunner:
    """Implements `ModelRunner` in float32 on a torch device."""

    arithmetic, sequence_length = "fp32", 0

    def __init__(
        self, config: ModelConfig, weights: Weights, *, device: str, max_rows: int
    ) -> None:
        if config.architecture != "lstm":
            raise ValueError(f"the engine serves LSTM checkpoints, not {config.architecture}")
        self.config, self.device, self.max_rows = config, device, max_rows
        self.layout, self.vocab_size = StateLayout.of(config), config.vocab_size
        self._weights = {name: torch.from_numpy(w).to(device) for name, w in weights.items()}
        self._states = torch.zeros(max_rows, self.layout.size, device=device)
        self._ids = torch.zeros(max_rows, dtype=torch.long, device=device)
        self._rows = torch.zeros(max_rows, dtype=torch.long, device=device)
        self._features = torch.zeros(max_rows, self.layout.features_size, device=device)
        self._logits = torch.zeros(max_rows, self.vocab_size, device=device)
        self._logprobs = torch.zeros_like(self._logits)
        self._num_heads = 0
        self._step = _captured(self._compute_step, device)
        self._head = _captured(self._compute_head, device)
        self._states.zero_()

    def write_states(self, first: int, states: Sequence[Floats | None]) -> None:
        nothing = np.zeros(self.layout.size, np.float32)
        values = np.stack([nothing if state is None else state for state in states])
        self._states[first : first + len(states)] = torch.from_numpy(values).to(self.device)

    def read_state(self, row: int) -> Floats:
        state: Floats = self._states[row].cpu().numpy().copy()
        return state

    def move_rows(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        self._states[list(targets)] = self._states[list(sources)]

    def step(self, ids: NDArray[np.int64]) -> None:
        # Rows past the batch step too, on whatever they hold: they are rewritten before use.
        self._ids[: len(ids)] = torch.from_numpy(ids).to(self.device)
        self._step()

    def logprobs(self, rows: NDArray[np.int64]) -> Floats:
        self._rows[: len(rows)] = torch.from_numpy(rows).to(self.device)
        self._head()
        self._num_heads = len(rows)
        result: Floats = self._logprobs[: len(rows)].cpu().numpy()
        return result.copy() if self.device == "cpu" else result

    def logits(self) -> Floats:
        result: Floats = self._logits[: self._num_heads].cpu().numpy()
        return result

    def run_sequence(self, row: int, ids: NDArray[np.int64]) -> Floats:
        raise NotImplementedError("sequence_length is 0")

    def logprobs_of_features(self, features: Floats) -> Floats:
        raise NotImplementedError("sequence_length is 0")

    @torch.no_grad()
    def logprobs_of_state(self, state: Floats) -> Floats:
        # Through the head of the full batch, for the same bits: one row is borrowed and put back.
        kept = self._states[0].clone()
        self._states[0] = torch.from_numpy(state.copy()).to(self.device)
        result: Floats = self.logprobs(np.zeros(1, np.int64))[0].copy()
        self._states[0] = kept
        return result

    @property
    def _softmax(self) -> Tensor:
        return self._weights["embedding.weight" if self.config.tie_weights else "output.weight"]

    @torch.no_grad()
    def _compute_step(self) -> None:
        parts = self.layout.slices()
        x = self._weights["embedding.weight"][self._ids]
        for k in range(self.config.num_layers):
            layer = {name: self._weights[f"layers.{k}.{name}"] for name in _PARAMETERS}
            h, c = self._states[:, parts[f"h{k}"]], self._states[:, parts[f"c{k}"]]
            gates = x @ layer["weight_ih"].T + h @ layer["weight_hh"].T + layer["bias"]
            i, f, g, o = gates.chunk(4, dim=1)
            new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            new_h = torch.sigmoid(o) * torch.tanh(new_c)
            x = new_h + x if self.config.has_skip(k) else new_h
            c.copy_(new_c)
            h.copy_(new_h)
        if self.layout.features_apart:
            self._states[:, parts["features"]] = x

    @torch.no_grad()
    def _compute_head(self) -> None:
        self._features.copy_(self._states[:, self.layout.slices()["features"]][self._rows])
        self._logits.copy_(self._features @ self._softmax.T)
        self._logprobs.copy_(torch.log_softmax(self._logits, dim=1))


_PARAMETERS = ("weight_ih", "weight_hh", "bias")


def _captured(compute: Callable[[], None], device: str) -> Callable[[], None]:
    """`compute` as a CUDA graph, replayed with one launch; on a CPU, itself."""
    if not device.startswith("cuda"):
        return compute
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm up outside of the capture, as CUDA asks
        for _ in range(3):
            compute()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    replay: Callable[[], None] = graph.replay
    return replay
