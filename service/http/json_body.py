"""Strict JSON bodies, and JSON answers in which no NaN can appear."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json

from service.http.errors import invalid

_SURROGATE = re.compile("[\ud800-\udfff]")


class StrictRequest(Request):
    """Reads JSON as the standard has it: no NaN or Infinity, no lone surrogates, bounded depth."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError as error:
            param, fault = _explain(body, error)
            raise invalid(param, fault, code="invalid_json") from None


class StrictRoute(APIRoute):
    """A route whose handler sees `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


class JSONBody(JSONResponse):
    """Encodes fast, and what is not finite as null."""

    def render(self, content: Any) -> bytes:
        return to_json(content, inf_nan_mode="null")


def _explain(body: bytes, error: ValueError) -> tuple[str | None, str]:
    """The field at fault where a laxer reader can find it, else the place in the text."""
    try:
        for place, value in _leaves(json.loads(body), ()):
            param = ".".join(place) or None
            if isinstance(value, float) and not math.isfinite(value):
                return param, "NaN and Infinity are not JSON; a number must be finite"
            if isinstance(value, str) and (found := _SURROGATE.search(value)):
                return param, (
                    f"lone surrogate U+{ord(found[0]):04X} at character {found.start()}; "
                    "a text must be valid Unicode"
                )
    except (ValueError, RecursionError):
        pass
    return None, f"the body is no valid JSON: {error}"


def _leaves(value: object, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield place, key
            yield from _leaves(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*place, str(index)))
    else:
        yield place, value
