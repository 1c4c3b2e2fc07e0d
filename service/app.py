"""The application: routers, error forms, and the life of the models behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware

from service.admission import Quotas
from service.api import (
    advance,
    health,
    model_list,
    next_token,
    next_word,
    playground,
    reload,
    rescore,
    score,
    tokenize,
)
from service.api.openai import embeddings, respond, routes
from service.engine.hosts.async_engine import AsyncEngine
from service.engine.hosts.build import EngineFactory
from service.http import openapi
from service.http.dependencies import AppContext
from service.http.errors import install_error_handlers
from service.http.middleware import MIDDLEWARE
from service.keys import KeyRing
from service.lifecycle import Lifecycle
from service.metrics import Metrics, ModelStats
from service.registry import ModelRegistry
from service.served_model import ServedModel
from service.settings import Settings
from service.state_token import StateCodec

if TYPE_CHECKING:  # an extra
    from service.http.tracing import RequestTracer

_ROUTERS = (
    score.router,
    rescore.router,
    advance.router,
    next_token.router,
    next_word.router,
    routes.router,
    respond.router,
    embeddings.router,
    model_list.router,
    tokenize.router,
    reload.router,
    health.router,
    openapi.router,
    playground.router,
)
_DESCRIPTION = """Score texts, ask for the distribution over what comes next, and generate, with
LSTM language models. Every log-probability is a natural logarithm."""


def create_app(
    settings: Settings,
    models: Sequence[ServedModel] | None = None,
    engine: AsyncEngine | None = None,
    tracer: RequestTracer | None = None,
) -> FastAPI:
    """The service as an ASGI application.

    models: models built elsewhere, the default one first, in place of those that `settings` names.
    engine: one for the settings' default model that is on its way already.
    tracer: in place of the one that `settings` ask for.
    """
    context = _build_context(settings, models, engine, tracer or _tracer(settings))
    app = FastAPI(
        title="lstm-serve",
        version=version_of_service(),
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        # FastAPI's own would send validation errors, with what clients wrote, wherever variables of
        # the environment say.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.context = context
    for router in _ROUTERS:
        app.include_router(router)
    install_error_handlers(app)
    for middleware in reversed(MIDDLEWARE):
        app.add_middleware(middleware, context=lambda: context)
    if settings.compress:
        app.add_middleware(GZipMiddleware, minimum_size=4096, compresslevel=1)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after"],
        )
    app.openapi = partial(  # type: ignore[method-assign]
        openapi.describe_api,
        app,
        needs_key=not context.keys.is_empty,
        open_pages=settings.open_pages,
    )
    return app


def _build_context(
    settings: Settings,
    models: Sequence[ServedModel] | None,
    engine: AsyncEngine | None,
    tracer: RequestTracer | None,
) -> AppContext:
    if models is not None:
        registry = ModelRegistry.of_models(models, aliases=settings.served_model_name)
    else:
        factory = EngineFactory.of(settings.engine_options, settings.models_memory_mb << 20)
        registry = ModelRegistry(
            settings.model,
            settings.models,
            factory,
            engine,
            aliases=settings.served_model_name,
            watches=settings.watch,
        )
    seals, *opens = settings.state_keys()
    return AppContext(
        settings=settings,
        registry=registry,
        states=StateCodec(seals, opens, max_age_s=settings.state_max_age_s),
        metrics=Metrics(lambda: {m.name: _stats_of(m) for m in registry.loaded()}),
        lifecycle=Lifecycle(),
        keys=KeyRing((k.get_secret_value() for k in settings.api_keys), settings.api_keys_file),
        quotas=Quotas(
            max_requests=settings.max_requests,
            per_key=settings.max_requests_per_key,
            per_minute=settings.requests_per_minute_per_key,
        ),
        tracer=tracer,
    )


def _tracer(settings: Settings) -> RequestTracer | None:
    """Where traces are asked for; else nothing of them is even imported."""
    if settings.otlp_traces_endpoint is None:
        return None
    try:
        from service.http.tracing import RequestTracer
    except ImportError as error:
        raise ValueError(
            "otlp_traces_endpoint: traces need the extra `otel`: pip install 'lstm-serve[otel]'"
        ) from error
    return RequestTracer.to_collector(settings.otlp_traces_endpoint, version_of_service())


def _stats_of(model: ServedModel) -> ModelStats:
    engine = model.engine
    return ModelStats(
        engine=engine.stats(), is_ready=engine.is_ready, num_restarts=engine.num_restarts
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load beside the open port, so that liveness and readiness answer meanwhile."""
    context: AppContext = app.state.context
    loading = asyncio.create_task(_load(context))
    try:
        yield
    finally:
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        await context.registry.stop(grace_s=0)
        if context.tracer is not None:
            await asyncio.to_thread(context.tracer.close)


async def _load(context: AppContext) -> None:
    try:
        await context.registry.start()
    except Exception as error:  # told to whoever waits for the start
        context.lifecycle.set_started(error)
    else:
        context.lifecycle.set_started()


def version_of_service() -> str:
    """The installed package's version, `0+unknown` in a checkout that is not installed."""
    try:
        return version("lstm-serve")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"
