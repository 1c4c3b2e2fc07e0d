"""Checkpoint folder + options -> engine. Light to import: kernels load where they run."""

from __future__ import annotations

from pathlib import Path

from service.engine.front import EngineFront
from service.engine.interface import AsyncEngine
from service.engine.options import EngineOptions
from service.engine.process_engine import ProcessEngine
from service.engine.replicas import ReplicatedEngine
from service.engine.shared_table import create_table_file
from service.engine.thread_engine import Loaded, ThreadEngine


def build_engine(folder: Path, options: EngineOptions) -> AsyncEngine:
    """An engine for the checkpoint, not yet started. Loads nothing itself."""
    if options.mode == "thread":
        return ThreadEngine(
            lambda: _load(folder, options), options.max_num_seqs, options.max_waiting
        )
    table = create_table_file() if options.replicas > 1 else None
    engines: list[EngineFront] = [
        ProcessEngine(folder, options, table) for _ in range(options.replicas)
    ]
    return engines[0] if len(engines) == 1 else ReplicatedEngine(engines, table)


def _load(folder: Path, options: EngineOptions) -> Loaded:
    from service.engine.loading import load_engine

    return load_engine(folder, options)
