"""The CPU kernel: ONNX Runtime sessions over preallocated rows. No torch on this path."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.activation_scales import ActivationScales, calibrate
from models.config import ModelConfig
from models.weights import Weights
from service.engine.request import Floats
from service.engine.runners.base import StateLayout
from service.engine.runners.onnx_graph import (
    Arithmetic,
    build_cell,
    build_head,
    build_input,
    build_step,
    entering_names,
    input_table,
)
from service.engine.runners.onnx_sequence import SequenceRunner
from service.engine.runners.onnx_session import new_session

_SEQUENCE_LENGTH = 32


class OnnxRunner:
    """Implements `ModelRunner`.

    State rows are matrices (max_rows, H) that the step graph reads and overwrites in place: each
    next_h and next_c is computed only after everything that reads h and c.
    """

    device = "cpu"

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        *,
        arithmetic: Arithmetic,
        max_rows: int,
        threads: int = 1,
        table: Floats | None = None,
    ) -> None:
        """table: of `input_table`, if it exists already (shared between processes)."""
        if config.architecture != "lstm":
            raise ValueError(f"the engine serves LSTM checkpoints, not {config.architecture}")
        self.config, self.arithmetic = config, arithmetic
        self.layout, self.vocab_size = StateLayout.of(config), config.vocab_size
        self.max_rows, self._threads = max_rows, threads
        table = input_table(weights) if table is None else table
        self._table = table.reshape(4, self.vocab_size, -1)  # gate, token, H_0
        self._embedding = weights["embedding.weight"] if config.has_skip(0) else None
        self._scales = (
            calibrate(config, weights) if arithmetic == "int8" else _unused_scales(config)
        )
        self.sequence_length = min(_SEQUENCE_LENGTH, max_rows)
        self._prepare(weights)
        self._fixed_batch = not self._rows_are_independent()
        if self._fixed_batch or not self._sequences_agree():
            self.sequence_length = 0

    def _prepare(self, weights: Weights) -> None:
        """Sessions and the buffers that are bound to them."""
        config, described = self.config, (self.config, weights, self.arithmetic, self._scales)
        self._step = new_session(build_step(*described), self._threads)
        self._head = new_session(build_head(*described), self._threads)
        layers = range(config.num_layers)
        self._sequence = SequenceRunner(
            config,
            [new_session(build_cell(*described, k), self._threads) for k in layers],
            [new_session(build_input(*described, k), self._threads) if k else None for k in layers],
            self._table,
            self._embedding,
            self.sequence_length,
        )
        self._buffers = self._allocate()
        self._bindings: dict[tuple[str, int], Any] = {}
        self._num_heads = 0
        self._parts, self._nothing = self.layout.slices(), np.zeros(self.layout.size, np.float32)
        apart = self.layout.features_apart
        self._features = self._buffers["features" if apart else f"h{config.num_layers - 1}"]

    def _allocate(self) -> dict[str, Floats]:
        sizes = dict.fromkeys(entering_names(0), self.config.hidden_sizes[0])
        sizes |= {"head": self.layout.features_size, "logprobs": self.vocab_size}
        sizes["logits"] = self.vocab_size
        for k, size in enumerate(self.config.hidden_sizes):
            sizes |= {f"h{k}": size, f"c{k}": size}
        if self.config.has_skip(0):
            sizes["x"] = self.config.embedding_size
        if self.layout.features_apart:
            sizes["features"] = self.layout.features_size
        return {name: np.zeros((self.max_rows, size), np.float32) for name, size in sizes.items()}

    def write_states(self, first: int, states: Sequence[Floats | None]) -> None:
        values = np.stack([self._nothing if state is None else state for state in states])
        for name, part in self._parts.items():
            self._buffers_of(name)[first : first + len(states)] = values[:, part]

    def read_state(self, row: int) -> Floats:
        state = np.empty(self.layout.size, np.float32)
        for name, part in self._parts.items():
            state[part] = self._buffers_of(name)[row]
        return state

    def _buffers_of(self, part: str) -> Floats:
        return self._features if part == "features" else self._buffers[part]

    def move_rows(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        for name in self._parts:
            rows = self._buffers_of(name)
            rows[targets] = rows[sources]

    def step(self, ids: NDArray[np.int64]) -> None:
        count = len(ids)
        for gate, name in zip(self._table, entering_names(0), strict=True):
            gate.take(ids, axis=0, out=self._buffers[name][:count], mode="clip")
        if self._embedding is not None:
            self._embedding.take(ids, axis=0, out=self._buffers["x"][:count], mode="clip")
        self._run("step", self._padded(count))

    def logprobs(self, rows: NDArray[np.int64]) -> Floats:
        self._features.take(rows, axis=0, out=self._buffers["head"][: len(rows)], mode="clip")
        return self._heads(len(rows))

    def logits(self) -> Floats:
        return self._buffers["logits"][: self._num_heads]

    def logprobs_of_state(self, state: Floats) -> Floats:
        features = state[self._parts["features"]]
        result: Floats = self.logprobs_of_features(features[None])[0].copy()
        return result

    def run_sequence(self, row: int, ids: NDArray[np.int64]) -> Floats:
        layers = range(self.config.num_layers)
        h = [self._buffers[f"h{k}"][row] for k in layers]
        c = [self._buffers[f"c{k}"][row] for k in layers]
        features = self._sequence.run(ids, h, c)
        if self.layout.features_apart:
            self._features[row] = features[-1]
        return features

    def logprobs_of_features(self, features: Floats) -> Floats:
        self._buffers["head"][: len(features)] = features
        return self._heads(len(features))

    def _heads(self, count: int) -> Floats:
        """Distributions of the first features in the buffer."""
        self._run("head", self._padded(count))
        self._num_heads = count
        return self._buffers["logprobs"][:count]

    def _padded(self, count: int) -> int:
        return self.max_rows if self._fixed_batch else count

    def _run(self, name: str, count: int) -> None:
        binding = self._bindings.get((name, count))
        if binding is None:
            binding = self._bindings[name, count] = self._bind(name, count)
        session = self._step if name == "step" else self._head
        session.run_with_iobinding(binding)

    def _bind(self, name: str, count: int) -> Any:
        """Inputs and outputs of a session tied to the first `count` rows of the buffers."""
        session = self._step if name == "step" else self._head
        binding = session.io_binding()
        for value in session.get_inputs():
            buffer = "head" if name == "head" else value.name
            rows = self._buffers[buffer][:count]
            binding.bind_input(value.name, "cpu", 0, np.float32, rows.shape, rows.ctypes.data)
        for value in session.get_outputs():
            rows = self._buffers[value.name.removeprefix("next_")][:count]
            binding.bind_output(value.name, "cpu", 0, np.float32, rows.shape, rows.ctypes.data)
        return binding

    def _rows_are_independent(self) -> bool:
        """Whether a row's bits are the same in batches of every kind; a few milliseconds."""
        self._fixed_batch = False
        draw = np.random.default_rng(1)
        ids = draw.integers(self.vocab_size, size=self.max_rows)
        start = draw.uniform(-1, 1, (self.max_rows, self.layout.size)).astype(np.float32)
        reference = self._trial(ids, start)
        sizes = {1, 2, 3, 5, 8, self.max_rows // 2, self.max_rows - 1} - {0}
        picks = [np.arange(min(size, self.max_rows))[::-1].copy() for size in sorted(sizes)]
        return all(
            np.array_equal(self._trial(ids[rows], start[rows]), reference[rows]) for rows in picks
        )

    def _sequences_agree(self) -> bool:
        """Whether a sequence has the bits of its steps; as quick as the other check."""
        ids = np.random.default_rng(2).integers(self.vocab_size, size=self.sequence_length)
        self.write_states(0, [None])
        stepped = []
        for token in ids:
            self.step(np.array([token]))
            stepped.append(self.read_state(0)[self._parts["features"]])
        after = self.read_state(0)
        self.write_states(0, [None])
        features = self.run_sequence(0, ids)
        return np.array_equal(features, stepped) and np.array_equal(self.read_state(0), after)

    def _trial(self, ids: NDArray[np.int64], states: Floats) -> Floats:
        """States and log-probabilities after one step from `states`, one row each."""
        self.write_states(0, list(states))
        self.step(ids)
        rows = np.arange(len(ids))
        after = np.stack([self.read_state(row) for row in range(len(ids))])
        return np.concatenate([after, self.logprobs(rows)], axis=1)


def _unused_scales(config: ModelConfig) -> ActivationScales:
    return ActivationScales((1.0,) * config.num_layers, (1.0,) * (config.num_layers + 1))
