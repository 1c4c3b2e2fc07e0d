"""Request ids, keys, draining, and clients that go away."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.conftest import Serve, running
from tests.service.plain_engine import PlainEngine

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
