"""Parts that requests and answers of several endpoints share."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.http.errors import ApiError

logger = logging.getLogger(__name__)


class RequestModel(BaseModel):
    """A JSON object from a client.

    Types are taken strictly. Null means a field's default. Unknown fields are ignored and logged.
    """

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_is_default(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data

    @model_validator(mode="after")
    def _log_unknown(self) -> Self:
        if self.model_extra:
            names = repr(sorted(self.model_extra))  # with no line breaks of the client's
            logger.info("%s: ignored unknown fields: %.200s", type(self).__name__, names)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema, with null allowed wherever there is a default."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, field in schema.get("properties", {}).items():
            if name not in schema.get("required", ()):
                _allow_null(field)
        return schema


def _allow_null(field: dict[str, Any]) -> None:
    if any(option.get("type") == "null" for option in field.get("anyOf", ())):
        return
    outside = ("title", "description", "default", "examples", "deprecated")
    inner = {key: field.pop(key) for key in list(field) if key not in outside}
    options = inner["anyOf"] if set(inner) == {"anyOf"} else [inner]
    field["anyOf"] = [*options, {"type": "null"}]


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "text"
    return "ids" if isinstance(value, list) else None


TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True)]
# Text, or the token ids of one, which are taken as they are.
TextOrIds = Annotated[
    Annotated[str, Tag("text")] | Annotated[TokenIds, Tag("ids")],
    Discriminator(
        _kind,
        custom_error_type="text_or_ids",
        custom_error_message="must be a string or a list of token ids",
    ),
]
ModelName = Annotated[
    str, Field(description='name of a served model; "default" is the one the server was started on')
]
StateToken = Annotated[
    str, Field(description="sealed state from an earlier answer, in place of `context`")
]


class Usage(BaseModel):
    """What a request took."""

    prompt_tokens: int = Field(
        description="tokens of contexts, texts and end-of-sequence; begin-of-sequence not counted"
    )
    cached_tokens: int = Field(description="those of them that the state cache already held")
    total_tokens: int


class TokenLogprob(BaseModel):
    """A token and its natural log-probability."""

    id: int
    token: str = Field(description='SentencePiece\'s name, "▁" for a space')
    logprob: float | None


class ErrorDetail(BaseModel):
    message: str = Field(description="names the field, its fault and the limit")
    type: str
    param: str | None = Field(description="the field at fault, dotted")
    code: str | None


class ErrorResponse(BaseModel):
    """Every error has this form."""

    error: ErrorDetail


def _answer(description: str, error: ApiError) -> dict[str, Any]:
    return {
        "model": ErrorResponse,
        "description": description,
        "content": {"application/json": {"example": error.body}},
    }


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error answers for a route's `responses=`; without `statuses` those of one that computes."""
    answers = {
        400: _answer(
            "Malformed or out of range.",
            ApiError(400, "texts: is required", code="missing_field", param="texts"),
        ),
        401: _answer(
            "Missing or wrong key, where the server has any.",
            ApiError(401, "missing or wrong API key", code="invalid_api_key"),
        ),
        404: _answer(
            "No model of that name.",
            ApiError(404, "model: 'x' is not served", code="model_not_found", param="model"),
        ),
        413: _answer(
            "Body too large.",
            ApiError(413, "the body is larger than the limit", code="body_too_large"),
        ),
        429: _answer(
            "Queue full; `retry-after` says when to come back.",
            ApiError(429, "the queue is full", code="queue_full", type="rate_limit_error"),
        ),
        503: _answer(
            "Loading or shutting down; `retry-after` says when to come back.",
            ApiError(503, "the server is shutting down", code="unavailable", type="server_error"),
        ),
    }
    return {status: answers[status] for status in statuses or answers}
