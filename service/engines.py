"""How settings become engines. Light: the first engine is launched before all else is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.config import ModelConfig
from service.engine.factory import build_engine
from service.engine.interface import AsyncEngine
from service.engine.options import EngineOptions
from service.model_size import estimated_bytes
from service.settings import Settings


@dataclass(frozen=True, kw_only=True)
class EngineFactory:
    """How models get engines.

    build: an engine, not yet started, for a checkpoint folder.
    size: estimate of what a loaded model takes, in bytes; budget_bytes: what all may take.
    """

    build: Callable[[Path], AsyncEngine]
    size: Callable[[ModelConfig], int]
    budget_bytes: int


def engine_factory(settings: Settings) -> EngineFactory:
    """Engines as `settings` ask for them."""
    options = EngineOptions(
        device=settings.device,
        precision=settings.precision,
        mode=settings.engine,
        replicas=settings.replicas,
        threads=settings.threads,
        max_num_seqs=settings.max_num_seqs,
        max_waiting=settings.max_waiting,
        cache_bytes=settings.cache_mb << 20,
    )
    return EngineFactory(
        build=partial(build_engine, options=options),
        size=partial(estimated_bytes, replicas=options.replicas, cache_bytes=options.cache_bytes),
        budget_bytes=settings.models_memory_mb << 20,
    )
