"""The page's files, as the service hands them out. What they do is tested in tests/browser."""

from __future__ import annotations

import re

import httpx
import pytest

from service.api import playground

_LINK = re.compile(r"""(?:src|href)="([^"#]+)"|from "(\./[^"]+)"|(?<=")(static/[^"]+)""")


async def test_the_page_and_what_it_links_to(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    linked = {"".join(found) for found in _LINK.findall(page.text)}
    assert {"static/main.js", "static/base.css", "docs"} <= linked
    for link in linked:
        assert not re.match(r"/|\w+:", link), "an absolute address breaks under a path prefix"
        assert (await client.get(f"/{link}")).status_code == 200


async def test_every_file_is_served_used_and_asks_nobody_else(client: httpx.AsyncClient) -> None:
    files = {path.name: path for path in playground._FOLDER.iterdir()}
    used = {"index.html"}
    for name, path in files.items():
        text = path.read_text("utf-8")
        answer = await client.get(f"/static/{name}")
        assert answer.text == text
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == []
        used |= {"".join(found).rpartition("/")[2] for found in _LINK.findall(text)}
    assert set(files) <= used


@pytest.mark.parametrize("path", ["/", "/static/main.js", "/static/base.css", "/static/icon.svg"])
async def test_a_strict_policy(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


async def test_scripts_and_styles_are_named_as_such(client: httpx.AsyncClient) -> None:
    for name, kind in (("main.js", "text/javascript"), ("base.css", "text/css")):
        answer = await client.get(f"/static/{name}")
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"


@pytest.mark.parametrize(
    "path", ["/static/nothing.js", "/static/", "/static/../settings.py", "/static/..%2fapp.py"]
)
async def test_nothing_else_is_handed_out(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404
