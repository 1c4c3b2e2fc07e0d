"""Typed dependencies of the routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.api.context import AppContext
from service.api.errors import ApiError
from service.api.middleware import exit_stack
from service.registry import UnknownModelError
from service.serving import ServedModel


def context_of(request: Request) -> AppContext:
    context = request.app.state.context
    assert isinstance(context, AppContext)
    return context


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
        raise unknown_model(str(name)) from None


def unknown_model(name: str) -> ApiError:
    """The 404 for a name that no model has."""
    return ApiError(
        404,
        f"model: {name!r} is not served here; GET /v1/models lists what is",
        code="model_not_found",
        param="model",
    )
