"""What every route needs beside its request: settings, models, the state's key, counters."""

from __future__ import annotations

from dataclasses import dataclass

from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.registry import ModelRegistry
from service.settings import Settings
from service.state_token import StateCodec


@dataclass(frozen=True, kw_only=True)
class AppContext:
    """One application's parts; lives in ``app.state.context``."""

    settings: Settings
    registry: ModelRegistry
    states: StateCodec
    metrics: Metrics
    lifecycle: Lifecycle
