"""Strict JSON bodies, and JSON answers in which no NaN can appear."""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic_core import from_json, to_json

from service.http.errors import invalid

# A list of token ids is one value a token; a list or object costs about as much as eight numbers.
_MOST_VALUES = 1 << 21
_VALUES_A_CONTAINER = 8
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_LARGEST_EXPLAINED = 1 << 16  # bytes; read and walked in a few milliseconds
_SURROGATE = re.compile("[\ud800-\udfff]")


class StrictRequest(Request):
    """Reads JSON as the standard has it: no NaN or Infinity, no lone surrogates, bounded depth."""

    async def json(self) -> Any:
        return parse_json(await self.body())


def parse_json(body: bytes) -> Any:
    """The value of a JSON text; an ApiError names the field at fault, or its place."""
    _check_count(body)
    try:
        with _no_collections():
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


def _check_count(body: bytes) -> None:
    """Refuse a body of so many values that reading them would hold up every other request."""
    if _count_values(body) <= _MOST_VALUES:
        return
    # Punctuation in a text is text: take the strings out, which costs more, and count again.
    if _count_values(_STRING.sub(b"", body)) > _MOST_VALUES:
        raise invalid(
            None,
            f"the body holds too many values: the limit is about {_MOST_VALUES} numbers and "
            f"texts, or {_MOST_VALUES // _VALUES_A_CONTAINER} lists and objects",
            code="limit_exceeded",
        )


def _count_values(body: bytes) -> int:
    containers = body.count(b"[") + body.count(b"{")
    return body.count(b",") + _VALUES_A_CONTAINER * containers


@contextmanager
def _no_collections() -> Iterator[None]:
    """The collector would look again and again through what is being made and is all needed."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _explain(body: bytes, error: ValueError) -> tuple[str | None, str]:
    """The field at fault where a laxer reader can find it, else the place in the text.

    Looking for a field reads the body again, so that it is done for bodies of a usual size only.
    """
    if len(body) <= _LARGEST_EXPLAINED:
        try:
            if (found := _find_fault(json.loads(body))) is not None:
                return found
        except (ValueError, RecursionError):
            pass
    return None, f"the body is no valid JSON: {error}"


def _find_fault(value: object) -> tuple[str | None, str] | None:
    """(dotted field, fault) of the first number or text that is not JSON's; None for none.

    Each value is looked at once; a place is spelled for the one at fault alone.
    """
    stack: list[tuple[_Place | None, object]] = [(None, value)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, dict):
            inner = [(_Place(place, key), item) for key, item in value.items()]
            keys = [(place, key) for key in value]
            stack += reversed([*keys, *inner])
        elif isinstance(value, list):
            pairs = ((_Place(place, str(index)), item) for index, item in enumerate(value))
            stack += reversed(list(pairs))
        elif (fault := _fault_of(value)) is not None:
            return _spell(place), fault
    return None


def _fault_of(value: object) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN and Infinity are not JSON; a number must be finite"
    if isinstance(value, str) and (found := _SURROGATE.search(value)):
        return (
            f"lone surrogate U+{ord(found[0]):04X} at character {found.start()}; "
            "a text must be valid Unicode"
        )
    return None


class _Place(NamedTuple):
    """A value's name in what holds it, and the place of that; None is the body itself."""

    outer: _Place | None
    name: str


def _spell(place: _Place | None) -> str | None:
    names: list[str] = []
    while place is not None:
        names.append(place.name)
        place = place.outer
    return ".".join(reversed(names)) or None
