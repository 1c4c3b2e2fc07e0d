"""`GET /`: the playground, a page that asks this service and nobody else.

Its files are `service/static/`. It carries no data and no key, so it needs none: what it asks for
does.
"""

from __future__ import annotations

from mimetypes import guess_type
from pathlib import Path

from fastapi import APIRouter, Response

from service.http.errors import ApiError
from service.http.page_headers import page_headers

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parents[1] / "static"
_INDEX = "index.html"
# Known as a whole before any request: no path of a client's is ever looked up on disk.
_FILES = {path.name: path for path in _FOLDER.iterdir() if path.is_file()}
_TYPES = {".js": "text/javascript", ".svg": "image/svg+xml"}  # systems differ in these
_HEADERS = page_headers()  # no cache: a page and its scripts are of one version


@router.get("/")
async def playground() -> Response:
    return _answer(_INDEX)


@router.get("/static/{name}")
async def static_file(name: str) -> Response:
    if name not in _FILES:
        raise ApiError(404, f"no such file: {name[:80]!r}", code="not_found")
    return _answer(name)


def _answer(name: str) -> Response:
    path = _FILES[name]
    kind = _TYPES.get(path.suffix) or guess_type(name)[0] or "application/octet-stream"
    return Response(path.read_bytes(), media_type=kind, headers=_HEADERS)
