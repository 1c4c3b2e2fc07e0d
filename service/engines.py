"""How settings become engines."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from service.engine.interface import AsyncEngine
from service.registry import EngineFactory
from service.settings import Settings
from service.stored_model import estimated_bytes


def engine_factory(settings: Settings) -> EngineFactory:
    """Builds engines as `settings` ask for."""
    return EngineFactory(
        build=partial(_build, settings),
        size=partial(
            estimated_bytes, replicas=settings.replicas, cache_bytes=settings.cache_mb << 20
        ),
        budget_bytes=settings.models_memory_mb << 20,
    )


def _build(settings: Settings, folder: Path) -> AsyncEngine:
    # Imported on use: an application over models built elsewhere needs no kernels.
    from service.engine.factory import build_engine
    from service.engine.options import EngineOptions

    return build_engine(
        folder,
        EngineOptions(
            device=settings.device,
            precision=settings.precision,
            mode=settings.engine,
            replicas=settings.replicas,
            threads=settings.threads,
            max_num_seqs=settings.max_num_seqs,
            max_waiting=settings.max_waiting,
            cache_bytes=settings.cache_mb << 20,
        ),
    )
