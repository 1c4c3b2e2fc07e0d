"""The OpenAPI document, as this service really answers, and the API reference that shows it.

The reference at `/docs` is made from files of an installed package: no content network.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import Any

import fastapi_swagger  # type: ignore[import-untyped]  # for its copy of Swagger UI alone
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi

from service.http.access import is_open
from service.http.page_headers import page_headers, script_hashes

_KEY = "api_key"


def describe_api(app: FastAPI, *, needs_key: bool, open_pages: bool) -> dict[str, Any]:
    """The document of `app`, made once.

    Answers in FastAPI's own form, which are never given, are taken out. The examples of errors get
    back the nulls that FastAPI drops. Where keys are set, all but what is open without one
    asks for one.
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
            _declare_key(document, open_pages=open_pages)
        app.openapi_schema = document
    return app.openapi_schema


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _restore_nulls(answer: dict[str, Any]) -> None:
    example = answer.get("content", {}).get("application/json", {}).get("example", {})
    if "error" in example:
        example["error"].setdefault("param", None)


def _declare_key(document: dict[str, Any], *, open_pages: bool) -> None:
    document["components"]["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    document["security"] = [{_KEY: []}]
    for path, methods in document["paths"].items():
        if is_open(path, pages=open_pages):
            for operation in methods.values():
                operation["security"] = []


router = APIRouter(include_in_schema=False)

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("/docs")
async def docs(request: Request) -> Response:
    # Relative addresses are right under any prefix, also one that this service is not told.
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=f"{request.app.title}: API reference",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon-32x32.png",
    )
    # Swagger UI sets styles of its elements, and has its pictures in its styles.
    headers = page_headers(
        scripts=script_hashes(bytes(page.body).decode()), styles="'unsafe-inline'", images="data:"
    )
    page.headers.update(headers)
    return page


@router.get("/docs/swagger-ui-bundle.js")
@router.get("/docs/swagger-ui.css")
@router.get("/docs/favicon-32x32.png")
async def asset(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    data = (resources.files(fastapi_swagger) / "resources" / name).read_bytes()
    return Response(
        data, media_type=_FILES[name], headers=page_headers(cache="public, max-age=86400")
    )
