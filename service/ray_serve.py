"""The service on a Ray cluster: the same application behind a Ray Serve deployment.

    serve run service.ray_serve:build model=/srv/models/mine state_key_file=/srv/state-keys
    serve deploy deploy/ray-serve.yaml

Each replica is a whole service with an engine of its own, and keeps nothing of any conversation:
what replicas must share is the state key. Ray starts more of them while requests queue. Needs the
extra `ray`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig

from service.app import create_app
from service.settings import Settings


class Replica:
    """One replica. Its settings are those of `lstm-serve serve`, by name."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._settings = Settings(**settings)  # type: ignore[arg-type]
        self._app: FastAPI | None = None

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, ready (to Ray) once its default model is loaded."""
        app = create_app(self._settings)
        lifespan, lifecycle = app.router.lifespan_context, app.state.context.lifecycle

        @asynccontextmanager
        async def loaded(app: FastAPI) -> AsyncIterator[object]:
            async with lifespan(app) as state:
                await lifecycle.wait_started()
                yield state

        app.router.lifespan_context = cast(Any, loaded)
        self._app = app
        return app

    def check_health(self) -> None:
        """Ray replaces a replica whose engine cannot be brought back."""
        fault = None if self._app is None else self._app.state.context.registry.fault
        if fault is not None:
            raise RuntimeError(f"the engine is down: {fault}")


deployment: Any = serve.deployment(
    name="LanguageModelService",
    max_ongoing_requests=256,
    autoscaling_config=AutoscalingConfig(
        min_replicas=1, max_replicas=8, target_ongoing_requests=32, upscale_delay_s=10
    ),
    health_check_period_s=5,
    graceful_shutdown_timeout_s=40,
)(serve.ingress()(Replica))


def build(settings: dict[str, str]) -> Application:
    """The Ray Serve application for `serve run` and for configuration files.

    Raises ValueError without a state key: each replica would have one of its own, and refuse the
    conversations of the others.
    """
    checked = Settings(**settings)  # type: ignore[arg-type]
    if checked.state_key is None and checked.state_key_file is None:
        raise ValueError("replicas must share a state key: set state_key_file or state_key")
    return deployment.bind({"host": "0.0.0.0", **settings})
