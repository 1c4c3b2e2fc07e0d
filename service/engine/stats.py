"""What an engine tells of itself, for the metrics page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class EngineStats:
    """By name. counters only ever grow while an engine lives; gauges are what is so now."""

    counters: Mapping[str, float] = field(default_factory=dict)
    gauges: Mapping[str, float] = field(default_factory=dict)

    def __add__(self, other: EngineStats) -> EngineStats:
        """Those of several engines, as if they were one."""
        return EngineStats(_sums(self.counters, other.counters), _sums(self.gauges, other.gauges))


def _sums(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
