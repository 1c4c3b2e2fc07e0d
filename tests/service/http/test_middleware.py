"""Request ids, keys, draining, and clients that go away."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.conftest import Serve, running
from tests.service.plain_engine import PlainEngine
from tests.service.test_server import serving

ROUTES = ["/health/ready", "/metrics", "/v1/models", "/docs", "/openapi.json", "/nope"]


async def test_every_answer_has_an_id_of_its_own(client: httpx.AsyncClient) -> None:
    paths = ["/health/live", *ROUTES, "/v1/score"]
    ids = {(await client.get(path)).headers["x-request-id"] for path in paths}
    assert len(ids) == len(paths)


@pytest.mark.parametrize(
    ("given", "is_kept"), [("abc-1", True), ("a b", False), ("x" * 129, False), ("é", False)]
)
async def test_a_clients_id_is_kept_if_it_is_sane(
    client: httpx.AsyncClient, given: str, is_kept: bool
) -> None:
    headers = {b"x-request-id": given.encode("latin-1")}
    response = await client.get("/health/live", headers=headers)
    assert (response.headers["x-request-id"] == given) is is_kept


@pytest.mark.parametrize("path", ROUTES)
async def test_keys(serve: Serve, path: str) -> None:
    async with serve(api_keys="first, second", open_pages=False) as client:
        for wrong in ({}, bearer("third"), bearer("firs"), {b"authorization": b"Basic first"}):
            response = await client.get(path, headers=wrong)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"
        for key in ("first", "second"):
            assert (await client.get(path, headers=bearer(key))).status_code != 401
        assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/main.js"])
async def test_the_page_that_asks_for_the_key_needs_none(serve: Serve, path: str) -> None:
    async with serve(api_keys="first") as client:
        assert (await client.get(path)).status_code == 200


async def test_a_key_is_asked_for_before_the_body_is_read(serve: Serve) -> None:
    async with serve(api_keys="k", max_body_bytes=10) as client:
        response = await client.post("/v1/score", content=b"x" * 100)
        assert response.status_code == 401


async def test_keys_may_be_any_text(serve: Serve) -> None:
    async with serve(api_keys="ключ") as client:
        headers = {b"authorization": "Bearer ключ".encode()}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
        assert (await client.get("/v1/models", headers=bearer("\xff"))).status_code == 401


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode("latin-1")}


@pytest.fixture
def app(served: ServedModel) -> FastAPI:
    return create_app(Settings(), [served])


async def test_draining_refuses_new_work_and_finishes_the_old(
    app: FastAPI, engine: PlainEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    hold(engine, monkeypatch, gate)
    lifecycle = app.state.context.lifecycle
    async with running(app) as client:
        old = asyncio.create_task(client.post("/v1/score", json={"texts": ["a"]}))
        while not engine.active:
            await asyncio.sleep(0)
        draining = asyncio.create_task(lifecycle.drain(10))
        await asyncio.sleep(0)
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200
        refused = await client.post("/v1/score", json={"texts": ["a"]})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "unavailable"
        assert "retry-after" in refused.headers
        assert not draining.done()
        gate.set()
        assert (await old).status_code == 200
        assert await draining


async def test_draining_ends_with_its_grace(
    app: FastAPI, engine: PlainEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    hold(engine, monkeypatch, gate)
    async with running(app) as client:
        old = asyncio.create_task(client.post("/v1/score", json={"texts": ["a"]}))
        while not engine.active:
            await asyncio.sleep(0)
        assert not await app.state.context.lifecycle.drain(0.01)
        engine.is_ready = False
        gate.set()
        assert (await old).status_code == 503


def hold(engine: PlainEngine, monkeypatch: pytest.MonkeyPatch, gate: asyncio.Event) -> None:
    """Let every request wait in the engine for `gate`."""
    submit = engine.submit

    async def held(request: Any) -> Any:
        engine.active.add(request.request_id)
        try:
            await gate.wait()
            async for output in submit(request):
                yield output
        finally:
            engine.active.discard(request.request_id)

    monkeypatch.setattr(engine, "submit", held)


async def test_a_client_that_leaves_ends_its_work(
    app: FastAPI, engine: PlainEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(engine, monkeypatch, asyncio.Event())
    async with running(app):
        left = asyncio.Event()
        sent: list[Any] = []
        call = asyncio.create_task(_call(app, sent, left))
        while not engine.active:
            await asyncio.sleep(0)
        left.set()
        await asyncio.wait_for(call, 5)
        assert (engine.active, sent) == (set(), [])
        assert app.state.context.lifecycle.in_flight == 0


async def test_a_client_that_leaves_before_its_body_ends(app: FastAPI) -> None:
    async with running(app):
        left = asyncio.Event()
        left.set()
        sent: list[Any] = []
        await asyncio.wait_for(_call(app, sent, left, is_whole=False), 5)
        assert sent == []


async def _call(
    app: FastAPI, sent: list[Any], left: asyncio.Event, *, is_whole: bool = True
) -> None:
    """A request as a server makes it, whose client goes away when `left` is set."""
    body = b'{"texts": ["a"]}'
    messages = [{"type": "http.request", "body": body, "more_body": not is_whole}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/score",
        "raw_path": b"/v1/score",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("service", 80),
        "client": ("client", 1),
        "root_path": "",
    }
    await app(scope, receive, send)


async def test_head_is_get_without_its_body(client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/health", "/v1/models", "/docs"):
        whole, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == whole.headers["content-length"]


async def test_gzip_bodies(serve: Serve) -> None:
    body = b'{"texts": ["a"]}'
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    async with serve(max_body_bytes=1000) as client:
        plain = (await client.post("/v1/score", content=body)).status_code
        packed = await client.post("/v1/score", content=gzip.compress(body), headers=headers)
        assert (plain, packed.status_code) == (400, 200)
        for bad, status in {
            gzip.compress(b" " * 10**7): 413,
            b"nonsense": 400,
            gzip.compress(body)[:-4]: 400,
            gzip.compress(body) + gzip.compress(b" " * 10**6): 413,
            gzip.compress(body) + b"nonsense": 400,
            gzip.compress(body) + gzip.compress(b" ")[:-4]: 400,
        }.items():
            answer = await client.post("/v1/score", content=bad, headers=headers)
            assert answer.status_code == status
        members = gzip.compress(body[:5]) + gzip.compress(body[5:]) + gzip.compress(b"")
        headers["content-encoding"] = "X-Gzip"
        answer = await client.post("/v1/score", content=members, headers=headers)
        assert answer.json() == packed.json()
        answer = await client.post("/v1/score", content=body, headers={"content-encoding": "br"})
        assert answer.status_code == 415


async def test_answers_are_packed_where_it_is_set(serve: Serve) -> None:
    for compress in (True, False):
        async with serve(compress=compress) as client:
            answer = await client.get("/openapi.json")
            assert (answer.headers.get("content-encoding") == "gzip") is compress


async def test_pages_of_other_origins_are_let_in_by_setting_alone(serve: Serve) -> None:
    headers = {"origin": "https://a.example", "access-control-request-method": "POST"}
    async with serve(cors_origins="https://a.example", api_keys="k") as client:
        answer = await client.options("/v1/score", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        other = await client.options(
            "/v1/score", headers={**headers, "origin": "https://b.example"}
        )
        assert "access-control-allow-origin" not in other.headers
    async with serve() as client:
        answer = await client.options("/v1/score", headers=headers)
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("prefix", ["", "/lm"], ids=["stripped", "passed on"])
async def test_a_prefix_of_a_proxy(served: ServedModel, prefix: str) -> None:
    async with serving(served, root_path="/lm", api_keys="k", open_pages=False) as (_, client):
        assert (await client.get(f"{prefix}/health/live")).status_code == 200
        assert (await client.get(f"{prefix}/v1/models")).status_code == 401
        headers = {"authorization": "Bearer k"}
        assert (await client.get(f"{prefix}/docs", headers=headers)).status_code == 200
        document = await client.get(f"{prefix}/openapi.json", headers=headers)
        assert document.json()["servers"] == [{"url": "/lm"}]
        assert (await client.get(f"{prefix}/lmx", headers=headers)).status_code == 404
        assert (await client.get(f"/lm{prefix}/lm/docs", headers=headers)).status_code == 404
