"""How an engine is run, as opposed to what it computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "int8", "fp32"]
Mode = Literal["process", "thread"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """One engine's settings.

    max_num_seqs: rows that advance together in one step.
    max_waiting: requests that may wait before a new one is refused.
    cache_bytes: bound of the state cache of each engine; 0 switches it off.
    threads: intra-operator threads of each engine.
    replicas: engine processes for one model (process mode).
    """

    device: Device = "auto"
    precision: Precision = "auto"
    mode: Mode = "process"
    replicas: int = 1
    max_num_seqs: int = 128
    max_waiting: int = 1024
    cache_bytes: int = 64 << 20
    threads: int = 1
