"""`POST /v1/models/{model}/reload`: for those who run the service."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from service.api.schemas import error_responses
from service.http.dependencies import Context, unknown_model
from service.http.errors import ApiError
from service.http.json_body import JSONBody, StrictRoute
from service.registry import ReloadError, UnknownModelError

router = APIRouter(route_class=StrictRoute, tags=["operations"])


class Reloaded(BaseModel):
    """What is served now."""

    id: str
    object: Literal["model"] = "model"
    digest: str = Field(description="of the checkpoint that takes requests from now on")


@router.post(
    "/v1/models/{model}/reload",
    summary="Reload a model",
    description="Loads what stands in the model's folder now, checks it on known answers, and puts "
    "it in the place of what is served; no request fails by it. What cannot be loaded is refused "
    "with a 409, and the old one goes on. Where keys have scopes, it needs `operate`.",
    operation_id="reload_model",
    response_model=Reloaded,
    responses={
        409: error_responses(400)[400] | {"description": "The new checkpoint is refused."},
        **error_responses(401, 404, 503),
    },
)
async def reload(
    context: Context, model: Annotated[str, Path(description="its name", examples=["default"])]
) -> Response:
    try:
        facts = await context.registry.reload(model)
    except UnknownModelError:
        raise unknown_model(model, context.registry.names()) from None
    except ReloadError as error:
        raise ApiError(409, str(error), code="reload_refused", param="model") from None
    return JSONBody({"id": facts.name, "object": "model", "digest": facts.digest})
