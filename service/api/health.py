"""Health and metrics, for those who run the service."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from service.api.schemas import error_responses
from service.http.dependencies import Context
from service.http.errors import unavailable
from service.metrics import CONTENT_TYPE

router = APIRouter(tags=["operations"])


class Health(BaseModel):
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
    if not context.registry.is_ready:
        raise unavailable(f"model {context.registry.default_name!r} is not ready yet")
    return JSONResponse({"status": "ok"})


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
