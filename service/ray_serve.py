"""The service on a Ray cluster: the same application behind a Ray Serve deployment.

    serve run service.ray_serve:build model=/srv/models/mine state_key_file=/srv/state-keys
    serve deploy deploy/ray-serve.yaml

Each replica is a whole service with an engine of its own, and keeps nothing of any conversation:
what replicas must share is the state key. Ray starts more of them while requests queue. A request
whose header `serve_multiplexed_model_id` names a checkpoint goes, if it can, to a replica that has
it in memory. Needs the extra `ray`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from service.app import create_app
from service.engine.hosts.async_engine import EngineUnavailableError
from service.model_entry import UnservableModelError
from service.registry import UnknownModelError
from service.settings import Settings

# More than any replica will hold: what leaves its memory is its registry's business.
_MOST_MODELS = 1000


class _NameModel:
    """Middleware: tells Ray which checkpoint a request asked to be routed by."""

    def __init__(self, app: ASGIApp, remember: Callable[[str], Awaitable[str]]) -> None:
        self.app, self._remember = app, remember

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (name := serve.get_multiplexed_model_id()):
            # What cannot be loaded is told by the route, in the contract's form.
            with suppress(UnknownModelError, UnservableModelError, EngineUnavailableError):
                await self._remember(name)
        await self.app(scope, receive, send)


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
        app.add_middleware(_NameModel, remember=self.load)
        self._app = app
        return app

    @serve.multiplexed(max_num_models_per_replica=_MOST_MODELS)  # type: ignore[untyped-decorator]
    async def load(self, name: str) -> str:
        """Load a checkpoint; Ray takes note that this replica has it. Raises what leasing it does.

        The replica may unload it later, for want of room; then its next request loads it again.
        """
        assert self._app is not None
        async with self._app.state.context.registry.lease(name) as model:
            return str(model.name)

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
