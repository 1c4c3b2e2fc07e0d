"""Every error in the contract's one form, whatever raised it; and refusals of what is too much.

{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
"""

from __future__ import annotations

import logging
import math
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from models.tokenizer import Tokenizer
from service.engine.hosts.async_engine import EngineUnavailableError, QueueFullError
from service.http.call import CALL, call_of
from service.http.nearest_route import route_meant

logger = logging.getLogger(__name__)

_MAX_QUOTED = 80
_short = reprlib.Repr()
_short.maxlevel, _short.maxlist, _short.maxdict, _short.maxstring = 4, 40, 20, 4 * _MAX_QUOTED
# Pydantic's name for the fault of a field that a route does not know; context: field, fault.
UNKNOWN_FIELD = "unknown_field"


class ApiError(HTTPException):
    """A refusal. The message names the field, its fault and the limit.

    status: HTTP status; type: OpenAI's class of error; param: the request's field, dotted; code: a
    word for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        type: str = "invalid_request_error",
        headers: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        if retry_after_s is not None:
            headers = {**(headers or {}), "retry-after": str(max(1, math.ceil(retry_after_s)))}
        super().__init__(status_code=status, detail=message, headers=headers)
        self.message, self.type, self.param, self.code = message, type, param, code

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of an answer, and of a failure in the middle of a stream."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> Response:
        return Response(
            to_json(self.body),
            status_code=self.status_code,
            headers=self.headers,
            media_type="application/json",
        )


def invalid(param: str | None, fault: str, *, code: str = "invalid_value") -> ApiError:
    """A 400: the value of `param` is malformed or out of range; `fault` says how."""
    return ApiError(400, f"{param}: {fault}" if param else fault, code=code, param=param)


def impossible(fault: str, *, param: str | None = None) -> ApiError:
    """A 400: each field is in range, but nothing satisfies all of them, as computing showed."""
    return invalid(param, fault, code="impossible_request")


def unavailable(message: str, *, retry_after_s: float = 1) -> ApiError:
    """A 503: loading or draining; the same request may succeed later."""
    return ApiError(
        503,
        message,
        code="unavailable",
        type="server_error",
        retry_after_s=retry_after_s,
    )


def as_api_error(error: BaseException) -> ApiError:
    """What the client is told about `error`; anything unforeseen is a 500 without its details."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return ApiError(
                429,
                str(error),
                code="queue_full",
                type="rate_limit_error",
                retry_after_s=error.retry_after,
            )
        case EngineUnavailableError():
            return unavailable(str(error), retry_after_s=error.retry_after)
        case RequestValidationError():
            return _validation_error(error)
        case HTTPException():
            return _http_error(error)
        case _:
            return ApiError(
                500,
                "internal error; the server's log has its details under this x-request-id",
                code="internal_error",
                type="server_error",
            )


def install_error_handlers(app: FastAPI) -> None:
    """Take every kind of refusal over from FastAPI, whose own form must never appear."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 404:
            error = _without_route(error, request)
        elif request.method == "OPTIONS" and getattr(error, "status_code", None) == 405:
            return _options(cast(HTTPException, error))
        refusal = as_api_error(error)
        note_error(request.scope, refusal)
        return refusal.response()

    for kind in (HTTPException, RequestValidationError, QueueFullError, EngineUnavailableError):
        app.add_exception_handler(kind, handle)


async def refuse(refusal: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request before any route has seen it."""
    note_error(scope, refusal)
    await refusal.response()(scope, receive, send)


def note_error(scope: Scope, refusal: ApiError) -> None:
    """For the request's line in the log and its trace: what its client is told."""
    if CALL in scope:
        call_of(scope).error = refusal.code


def _http_error(error: HTTPException) -> ApiError:
    messages = {404: "no such route", 405: "this route does not take this method"}
    codes = {404: "not_found", 405: "method_not_allowed"}
    return ApiError(
        error.status_code,
        messages.get(error.status_code, str(error.detail)),
        code=codes.get(error.status_code, "invalid_request"),
        headers=error.headers,
    )


def _without_route(error: HTTPException, request: Request) -> HTTPException:
    if isinstance(error, ApiError):
        return error
    hint = route_meant(request)
    message = f"no such route; {hint}" if hint else "no such route; /docs lists them"
    return ApiError(404, message, code="not_found")


def _options(error: HTTPException) -> Response:
    """What a route takes, told to those who ask for it."""
    methods = next((v for k, v in (error.headers or {}).items() if k.lower() == "allow"), "")
    allowed = [*filter(None, methods.split(", ")), "OPTIONS"]
    if "GET" in allowed and "HEAD" not in allowed:
        allowed.insert(1, "HEAD")
    return Response(status_code=204, headers={"allow": ", ".join(allowed)})


def _validation_error(error: RequestValidationError) -> ApiError:
    """The first fault that pydantic found, with the field's place as the client wrote it."""
    fault = error.errors()[0]
    location = list(fault["loc"])
    if location[0] != "body":
        return invalid(str(location[-1]), fault["msg"])
    if not isinstance(error.body, dict):
        return invalid(None, _not_an_object(error.body), code="invalid_json")
    if fault["type"] == UNKNOWN_FIELD:
        location.append(fault["ctx"]["field"])
    param = ".".join(map(str, _place(location[1:], error.body, fault["type"]))) or None
    if fault["type"] == UNKNOWN_FIELD:
        return invalid(param, fault["msg"], code=UNKNOWN_FIELD)
    if fault["type"] == "missing":
        return invalid(param, "is required", code="missing_field")
    message = fault["msg"].removeprefix("Value error, ").replace(" after validation", "")
    if fault["type"] not in ("value_error", "too_long", "too_short"):
        message += f", not {_quoted(fault['input'])}"
    return invalid(param, message[0].lower() + message[1:])


def _not_an_object(body: object) -> str:
    if body is None:
        return "the body is empty; a JSON object is expected"
    if isinstance(body, bytes):
        return "the body must be JSON, announced by the header 'content-type: application/json'"
    return f"the body must be a JSON object, not {_quoted(body)}"


def _place(location: list[int | str], body: object, kind: str) -> list[int | str]:
    """Those parts of pydantic's location that exist in the body: it also names union members."""
    place: list[int | str] = []
    for part in location:
        if isinstance(body, dict):
            is_there = part in body
        else:
            is_there = isinstance(body, list) and isinstance(part, int) and part < len(body)
        if is_there:
            body = cast(Any, body)[part]
        elif kind != "missing" or part is not location[-1]:
            continue
        place.append(part)
    return place


def _quoted(value: object) -> str:
    """The beginning of what Python would print; a large value is not spelled whole for it."""
    text = _short.repr(value)
    return text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "..."


def check_count(param: str, count: int, limit: int, things: str) -> None:
    """Refuse more than `limit` of `things`."""
    if count > limit:
        raise too_many(param, count, limit, things)


def too_many(param: str, count: int, limit: int, things: str) -> ApiError:
    """The refusal itself."""
    return invalid(param, f"{count} {things}, the limit is {limit}", code="limit_exceeded")


def check_token_ids(param: str, ids: Sequence[int], tokenizer: Tokenizer) -> None:
    """Refuse ids that are not in the vocabulary, naming the first."""
    for index, token_id in enumerate(ids):
        if not 0 <= token_id < tokenizer.vocab_size:
            raise invalid(
                f"{param}.{index}",
                f"token id {token_id} is not in 0..{tokenizer.vocab_size - 1}",
            )
