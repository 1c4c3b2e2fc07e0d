"""What every route needs beside its request: settings, models, the state's key, counters."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from service.admission import Admission, Quotas
from service.http.errors import ApiError
from service.keys import KeyRing
from service.lifecycle import Lifecycle
from service.metrics import Metrics
from service.model_entry import UnservableModelError
from service.registry import ModelRegistry, UnknownModelError
from service.served_model import ServedModel
from service.settings import Settings
from service.state_token import StateCodec

if TYPE_CHECKING:  # an extra
    from service.http.tracing import RequestTracer

EXIT_STACK = "lstm_serve.exit_stack"  # its place in an ASGI scope


@dataclass(frozen=True, kw_only=True)
class AppContext:
    """One application's parts; lives in ``app.state.context``.

    tracer: where a span of each request goes; None where nobody asks for any.
    """

    settings: Settings
    registry: ModelRegistry
    states: StateCodec
    metrics: Metrics
    lifecycle: Lifecycle
    keys: KeyRing
    quotas: Quotas
    tracer: RequestTracer | None = None
    admissions: dict[str, Admission] = field(default_factory=dict)

    def admission(self, model: str) -> Admission:
        """Who may begin work with that model."""
        if model not in self.admissions:
            settings = self.settings
            self.admissions[model] = Admission(
                max_wait_s=settings.max_wait_s, max_tokens=settings.max_queued_tokens
            )
        return self.admissions[model]


def context_of(request: Request) -> AppContext:
    """What the app was started with."""
    context = request.app.state.context
    assert isinstance(context, AppContext)
    return context


def route_path(scope: Scope) -> str:
    """The path that routes know: without the prefix under which a proxy offers the service."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


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
    except UnservableModelError as error:
        raise ApiError(400, str(error), code="model_not_servable", param="model") from None


def unknown_model(name: str, served: Sequence[str]) -> ApiError:
    """The 404 for a name that no model has, with the nearest of those `served`."""
    by_spelling = {own.lower(): own for own in served}
    # Case aside, and of a path its last part: both are how people name what they have on disk.
    nearest = get_close_matches(name.rstrip("/").rpartition("/")[2].lower(), by_spelling, 1)
    hint = (
        f"did you mean {by_spelling[nearest[0]]!r}?" if nearest else "GET /v1/models lists what is"
    )
    return ApiError(
        404,
        f"model: {name[:80]!r} is not served here; {hint}",
        code="model_not_found",
        param="model",
    )
