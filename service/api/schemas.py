"""Parts that requests and answers of several endpoints share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    Tag,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from service.http.errors import UNKNOWN_FIELD, ApiError


class RequestModel(BaseModel):
    """A JSON object from a client.

    Types are taken strictly, but 1.0 is an integer as it is in JSON. Null means a field's default.
    """

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: _as_integer(value) for key, value in data.items() if value is not None}
        return data

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


class KnownFields(BaseModel):
    """An object of a route of this service's own: a field that it does not know is a mistake."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for name in data:
                if name not in known and name not in cls.model_fields:
                    raise PydanticCustomError(
                        UNKNOWN_FIELD,
                        "{fault}",
                        {"field": name, "fault": _unknown(name, known)},
                    )
        return data


class NativeRequest(KnownFields, RequestModel):
    """A request to such a route. By the order of bases an unknown field is refused as null, too."""

    model_config = ConfigDict(extra="forbid")


# What the same thing is called by other routes or elsewhere.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("context", "texts"),
    "input": ("texts", "context"),
    "inputs": ("texts", "context"),
    "text": ("texts", "context"),
    "sentences": ("texts",),
    "history": ("context",),
    "prefix": ("context",),
    "logprobs": ("top_logprobs", "top_k"),
    "top_n_tokens": ("top_k",),
    "n": ("top_k", "top_n"),
    "add_special_tokens": ("bos",),
    "nbest": ("utterances",),
    "hypotheses": ("utterances",),
    "alpha": ("lm_weight",),
    "beta": ("length_bonus",),
    "echo": ("detail",),
}


def _unknown(name: str, known: Iterable[str]) -> str:
    names = list(known)
    meant = [other for other in _OTHER_NAMES.get(name, ()) if other in names]
    meant += get_close_matches(name, names, 1)
    hint = f"did you mean {meant[0]!r}?" if meant else f"known are {', '.join(names)}"
    return f"is not a field of this request; {hint}"


def _as_integer(value: Any) -> Any:
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if is_whole else value


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
# Of lists whose items are looked at one by one: more than any vocabulary has tokens.
MAX_LISTED_TOKENS = 1 << 18
# Text, or the token ids of one, which are taken as they are.
TextOrIds = Annotated[
    Annotated[str, Tag("text")] | Annotated[TokenIds, Tag("ids")],
    Discriminator(
        _kind,
        custom_error_type="text_or_ids",
        custom_error_message="must be a string or a list of token ids",
    ),
]


def numbers_by_name(low: float, high: float) -> BeforeValidator:
    """Of an object of numbers keep one at fault alone: a report of a million takes minutes.

    low, high: the range that the values' own type has.
    """

    def check(values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        if len(values) > MAX_LISTED_TOKENS:
            raise PydanticCustomError(
                "too_long", f"has {len(values)} entries, the limit is {MAX_LISTED_TOKENS}"
            )
        for name, value in values.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not low <= value <= high:
                return {name: value}
        return values

    return BeforeValidator(check)


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
    """What is wrong, for people and for programs."""

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
