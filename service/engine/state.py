"""How the memory of a history is laid out as one vector of floats."""

from __future__ import annotations

from dataclasses import dataclass

from models.config import ModelConfig


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
