"""What the engine needs from a kernel: rows of state that step, and a head that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.config import ModelConfig
from service.engine.request import Floats


def why_not_servable(config: ModelConfig) -> str | None:
    """What of a checkpoint's shape the engine does not compute; None where it does."""
    if config.architecture != "lstm":
        return f"the engine serves LSTM checkpoints, not {config.architecture}"
    if config.adaptive_cutoffs:
        return (
            "it has an adaptive softmax (model.adaptive_cutoffs), which the engine does not "
            "compute: train with an ordinary one"
        )
    return None


@dataclass(frozen=True)
class StateLayout:
    """A state is h and c of each layer, first to last, then the features fed to the softmax.

    The features are kept apart only where a skip connection makes them differ from the last h.
    """

    hidden_sizes: tuple[int, ...]
    features_apart: bool

    @classmethod
    def of(cls, config: ModelConfig) -> StateLayout:
        return cls(config.hidden_sizes, config.has_skip(config.num_layers - 1))

    @property
    def size(self) -> int:
        """Floats in a state vector."""
        extra = self.hidden_sizes[-1] if self.features_apart else 0
        return 2 * sum(self.hidden_sizes) + extra

    @property
    def features_size(self) -> int:
        return self.hidden_sizes[-1]

    def slices(self) -> dict[str, slice]:
        """Where each part lies: h0, c0, h1, c1, ..., features."""
        parts, start = {}, 0
        for k, size in enumerate(self.hidden_sizes):
            for name in (f"h{k}", f"c{k}"):
                parts[name] = slice(start, start + size)
                start += size
        last = len(self.hidden_sizes) - 1
        apart = slice(start, start + self.features_size)
        parts["features"] = apart if self.features_apart else parts[f"h{last}"]
        return parts


class ModelRunner(Protocol):
    """`max_rows` states side by side. A row's numbers never depend on other rows."""

    @property
    def layout(self) -> StateLayout: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def max_rows(self) -> int: ...
    @property
    def arithmetic(self) -> str: ...
    @property
    def device(self) -> str: ...

    @property
    def sequence_length(self) -> int:
        """Most tokens that `run_sequence` takes; 0 where it would be no faster than steps."""
        ...

    def write_states(self, first: int, states: Sequence[Floats | None]) -> None:
        """Put state vectors into rows `first` and on; None is the state of nothing (zeros)."""
        ...

    def read_state(self, row: int) -> Floats:
        """A copy of a row's state vector, (layout.size,)."""
        ...

    def move_rows(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy rows; no row is both source and target."""
        ...

    def step(self, ids: NDArray[np.int64]) -> None:
        """Advance rows 0..len(ids)-1 by one token each."""
        ...

    def logprobs(self, rows: NDArray[np.int64]) -> Floats:
        """ln P of the next token for the given rows, (len(rows), V).

        A view of a buffer that the next call overwrites; the caller may scribble on it.
        """
        ...

    def logits(self) -> Floats:
        """Distributions before normalisation, behind the last log-probabilities returned, (R, V).

        For penalties that look at signs. A view as that of `logprobs`.
        """
        ...

    def run_sequence(self, row: int, ids: NDArray[np.int64]) -> Floats:
        """Advance one row by all of `ids`; features after each, (len(ids), features_size).

        The same bits as that many steps. The result is valid until the next call.
        """
        ...

    def logprobs_of_features(self, features: Floats) -> Floats:
        """ln P after each of some features, (R, V); a view as that of `logprobs`."""
        ...

    def logprobs_of_state(self, state: Floats) -> Floats:
        """ln P of what follows a state that is in no row, (V,), a copy."""
        ...
