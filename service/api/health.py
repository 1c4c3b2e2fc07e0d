"""Health and metrics, for those who run the service."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.api.schemas import error_responses
from service.http.dependencies import Context
from service.http.errors import unavailable
from service.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    """That the process answers, or that it takes work."""

    status: Literal["ok"] = "ok"


@router.get(
    "/health/live",
    summary="Liveness",
    description="Answers as long as the process can answer at all. Needs no key.",
    operation_id="health_live",
    response_model=Health,
)
async def live() -> Response:
    return JSONResponse({"status": "ok"})


@router.get(
    "/health/ready",
    summary="Readiness",
    description="200 while work is taken; 503 while loading or draining.",
    operation_id="health_ready",
    response_model=Health,
    responses=error_responses(401, 503),
)
async def ready(context: Context) -> Response:
    if context.lifecycle.is_draining:
        raise unavailable("the server is shutting down")
    registry = context.registry
    if not registry.is_ready:
        fault = "" if registry.fault is None else "; its engine failed and is being restarted"
        raise unavailable(f"model {registry.default_name!r} is not ready{fault or ' yet'}")
    return JSONResponse({"status": "ok"})


@router.get(
    "/health",
    summary="Health, by its usual name",
    description="Readiness, where llama.cpp and vLLM have it.",
    operation_id="health",
    response_model=Health,
    responses=error_responses(401, 503),
)
async def health(context: Context) -> Response:
    return await ready(context)


class Version(BaseModel):
    """The service's version."""

    version: str


@router.get(
    "/version",
    summary="Version",
    description="The service's version, in vLLM's form.",
    operation_id="version",
    response_model=Version,
    responses=error_responses(401),
)
async def version(request: Request) -> Response:
    return JSONResponse({"version": request.app.version})


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    description="Counters and gauges of the service and of its engines, in Prometheus' text form.",
    operation_id="metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **error_responses(401),
    },
)
async def metrics(context: Context) -> Response:
    return Response(context.metrics.render(), media_type=CONTENT_TYPE)
