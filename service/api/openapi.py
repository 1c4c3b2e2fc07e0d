"""The OpenAPI document, as this service really answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.middleware import OPEN_WITHOUT_KEY

_KEY = "api_key"


def describe_api(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    """The document of `app`, made once.

    Answers in FastAPI's own form, which are never given, are taken out. The examples of errors get
    back the nulls that FastAPI drops. Where keys are set, all but liveness asks for one.
    """
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for operation in _operations(document):
            operation["responses"].pop("422", None)
            for answer in operation["responses"].values():
                _restore_nulls(answer)
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        if needs_key:
            _declare_key(document)
        app.openapi_schema = document
    return app.openapi_schema


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _restore_nulls(answer: dict[str, Any]) -> None:
    example = answer.get("content", {}).get("application/json", {}).get("example", {})
    if "error" in example:
        example["error"].setdefault("param", None)


def _declare_key(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    document["security"] = [{_KEY: []}]
    document["paths"][OPEN_WITHOUT_KEY]["get"]["security"] = []
