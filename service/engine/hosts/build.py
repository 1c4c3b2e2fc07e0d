"""Engine options and a checkpoint folder -> an engine, and the memory that it will take.

Light to import, for the first engine is launched before all else is: kernels load where they run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.checkpoint import num_parameters
from models.config import ModelConfig
from service.engine.hosts.async_engine import AsyncEngine, EngineFront, EngineOptions
from service.engine.hosts.process import ProcessEngine
from service.engine.hosts.replicas import ReplicatedEngine, create_table_file

# An engine process without its model: interpreter, libraries, buffers of a full batch.
_ENGINE_BYTES = 100 << 20


def estimated_bytes(config: ModelConfig, *, replicas: int, cache_bytes: int) -> int:
    """Memory of a loaded model: weights and input-product table in fp32, and its engines."""
    table = config.vocab_size * 4 * config.hidden_sizes[0]
    return 4 * (num_parameters(config) + table) + replicas * (_ENGINE_BYTES + cache_bytes)


def build_engine(folder: Path, options: EngineOptions) -> AsyncEngine:
    """An engine for the checkpoint, not yet started. Loads nothing itself."""
    if options.mode == "thread":
        return _thread_engine(folder, options)
    table = create_table_file() if options.replicas > 1 else None
    engines: list[EngineFront] = [
        ProcessEngine(folder, options, table) for _ in range(options.replicas)
    ]
    return engines[0] if len(engines) == 1 else ReplicatedEngine(engines, table)


def _thread_engine(folder: Path, options: EngineOptions) -> AsyncEngine:
    from service.engine.hosts.loading import load_engine
    from service.engine.hosts.thread import ThreadEngine

    return ThreadEngine(
        lambda: load_engine(folder, options), options.max_num_seqs, options.max_waiting
    )


@dataclass(frozen=True, kw_only=True)
class EngineFactory:
    """How models get engines.

    build: an engine, not yet started, for a checkpoint folder.
    size: estimate of what a loaded model takes, in bytes; budget_bytes: what all may take.
    """

    build: Callable[[Path], AsyncEngine]
    size: Callable[[ModelConfig], int]
    budget_bytes: int

    @classmethod
    def of(cls, options: EngineOptions, budget_bytes: int) -> EngineFactory:
        """Engines that are run as `options` say."""
        return cls(
            build=partial(build_engine, options=options),
            size=partial(
                estimated_bytes, replicas=options.replicas, cache_bytes=options.cache_bytes
            ),
            budget_bytes=budget_bytes,
        )
