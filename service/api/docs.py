"""The API reference at `/docs`, from files of an installed package: no content network."""

from __future__ import annotations

from importlib import resources

import fastapi_swagger  # type: ignore[import-untyped]  # for its copy of Swagger UI alone
from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse

router = APIRouter(include_in_schema=False)

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


@router.get("/")
async def root() -> Response:
    return RedirectResponse("/docs")


@router.get("/docs")
async def docs(request: Request) -> Response:
    return get_swagger_ui_html(
        openapi_url=str(request.app.openapi_url),
        title=f"{request.app.title}: API reference",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
    )


@router.get("/docs/swagger-ui-bundle.js")
@router.get("/docs/swagger-ui.css")
@router.get("/docs/favicon-32x32.png")
async def asset(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    data = (resources.files(fastapi_swagger) / "resources" / name).read_bytes()
    return Response(
        data, media_type=_FILES[name], headers={"cache-control": "public, max-age=86400"}
    )
