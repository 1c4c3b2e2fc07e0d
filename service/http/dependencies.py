"""What every route needs beside its request: settings, models, the state's key, counters."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from service.http.errors import ApiError
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.registry import ModelRegistry, UnknownModelError
from service.served_model import ServedModel
from service.settings import Settings
from service.state_token import StateCodec

EXIT_STACK = "lstm_serve.exit_stack"  # its place in an ASGI scope


@dataclass(frozen=True, kw_only=True)
class AppContext:
    """One application's parts; lives in ``app.state.context``."""

    settings: Settings
    registry: ModelRegistry
    states: StateCodec
    metrics: Metrics
    lifecycle: Lifecycle


def context_of(request: Request) -> AppContext:
    context = request.app.state.context
    assert isinstance(context, AppContext)
    return context


def exit_stack(scope: Scope) -> AsyncExitStack:
    """Contexts entered here are left when the answer, streamed or not, has ended."""
    stack = scope[EXIT_STACK]
    assert isinstance(stack, AsyncExitStack)
    return stack


async def _get_context(request: Request) -> AppContext:
    return context_of(request)  # a coroutine, for FastAPI runs plain functions in threads


Context = Annotated[AppContext, Depends(_get_context)]


async def resolve_model(request: Request, name: str | None) -> ServedModel:
    """The model a request names; it stays in memory until the answer has ended.

    None and "default" stand for the default model; an unknown name is a 404.
    """
    registry = context_of(request).registry
    try:
        return await exit_stack(request.scope).enter_async_context(registry.lease(name))
    except UnknownModelError:
        raise unknown_model(str(name), registry.names()) from None


def unknown_model(name: str, served: Sequence[str]) -> ApiError:
    """The 404 for a name that no model has, with the nearest of those `served`."""
    nearest = get_close_matches(name, served, 1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "GET /v1/models lists what is"
    return ApiError(
        404,
        f"model: {name[:80]!r} is not served here; {hint}",
        code="model_not_found",
        param="model",
    )
