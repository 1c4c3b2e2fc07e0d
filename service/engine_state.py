"""The state of a sequence as an engine keeps it: made and read there, opaque to everyone else.

Histories, requests, outputs and sealed tokens carry it; none of them looks inside.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class EngineState:
    """Immutable; equal if every bit is.

    vector: (state_size,) float32, laid out as the engine's `StateLayout` says.
    """

    __slots__ = ("vector",)

    def __init__(self, vector: NDArray[np.float32]) -> None:
        """`vector` must not be written to afterwards."""
        self.vector = vector

    @property
    def num_floats(self) -> int:
        """To be compared with `EngineInfo.state_size`."""
        return self.vector.size

    def to_bytes(self) -> bytes:
        """Little-endian float32, 4 * num_floats bytes."""
        return self.vector.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> EngineState:
        """Inverse of `to_bytes`. Raises ValueError where `data` is not a whole number of floats."""
        return cls(np.frombuffer(data, "<f4").astype(np.float32))

    def __repr__(self) -> str:
        return f"EngineState({self.num_floats} floats)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EngineState) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())
