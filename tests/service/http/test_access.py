"""Keys with scopes, names of hosts, quotas, and what the log says of all of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.access import is_open, needed_scope
from service.served_model import ServedModel
from tests.service.conftest import Serve
from tests.service.plain_engine import PlainEngine

# With a port: without one it is a socket of the file system, which no browser can be led to.
ADDRESS = "http://service:8000/v1/models"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    names = {"user": "use", "operator": "use,operate", "watcher": "observe"}
    path.write_text(
        "".join(
            f"{name} {scopes} sha256:{hashlib.sha256(name.encode()).hexdigest()}\n"
            for name, scopes in names.items()
        )
    )
    return path


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_scopes(serve: Serve, key_file: Path) -> None:
    asked = {"use": "/v1/models", "observe": "/metrics"}
    async with serve(api_keys_file=key_file) as client:
        for key, scopes in {"user": {"use"}, "watcher": {"observe"}, "operator": {"use"}}.items():
            for scope, path in asked.items():
                status = (await client.get(path, headers=bearer(key))).status_code
                assert status == (200 if scope in scopes else 403), (key, path)
        for key, status in {"user": 403, "watcher": 403, "operator": 409, "nobody": 401}.items():
            answer = await client.post("/v1/models/tiny/reload", headers=bearer(key))
            assert answer.status_code == status, key


async def test_pages_and_health_are_open_by_default(serve: Serve) -> None:
    async with serve(api_keys="k") as client:
        for path in ("/health/live", "/health/ready", "/docs", "/openapi.json", "/"):
            assert (await client.get(path)).status_code == 200, path
        document = (await client.get("/openapi.json")).json()
        assert document["paths"]["/health/ready"]["get"]["security"] == []
        for path in ("/metrics", "/v1/models", "/tokenizer_info"):
            assert (await client.get(path)).status_code == 401, path


async def test_x_api_key_is_a_key_too(serve: Serve) -> None:
    async with serve(api_keys="k") as client:
        assert (await client.get("/v1/models", headers={"x-api-key": "k"})).status_code == 200
        assert (await client.get("/v1/models", headers={"x-api-key": "q"})).status_code == 401
        both = {"x-api-key": "k", **bearer("q")}
        assert (await client.get("/v1/models", headers=both)).status_code == 401


def test_what_routes_need() -> None:
    assert needed_scope("/v1/models/x/reload") == "operate"
    assert needed_scope("/metrics") == "observe"
    assert needed_scope("/v1/score") == "use"
    for path in ("/docs/../v1/models", "/v1/score", "/health/x", "/docsx", "/static/a/b"):
        assert not is_open(path, pages=True), path


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
async def test_a_keyless_server_on_loopback_knows_its_names(
    serve: Serve, host: str, status: int
) -> None:
    """A page whose name is made to point here must not ask this server through a browser."""
    async with serve() as client:
        assert (await client.get(ADDRESS, headers={"host": host})).status_code == status


async def test_names_of_hosts_may_be_set(serve: Serve) -> None:
    async with serve(allowed_hosts="models.example", host="0.0.0.0") as client:
        for host, status in {"models.example": 200, "localhost": 403}.items():
            assert (await client.get(ADDRESS, headers={"host": host})).status_code == status


async def test_quotas_refuse_before_the_body_is_read(
    serve: Serve, engine: PlainEngine, key_file: Path
) -> None:
    engine.step_s = 0.05
    body = {"prompt": "a", "max_tokens": 20, "ignore_eos": True}
    async with serve(api_keys_file=key_file, max_requests_per_key=1) as client:
        first = asyncio.create_task(
            client.post("/v1/completions", json=body, headers=bearer("user"))
        )
        while not engine.active:
            await asyncio.sleep(0.01)
        refused = await client.post("/v1/score", content=b"{", headers=bearer("user"))
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(refused.headers["retry-after"]) >= 1
        other = await client.get("/v1/models", headers=bearer("operator"))
        assert other.status_code == 200
        assert (await client.get("/metrics", headers=bearer("watcher"))).status_code == 200
        assert (await first).status_code == 200


async def test_the_cache_is_shared_with_nobody_of_another_key(
    serve: Serve, engine: PlainEngine, key_file: Path
) -> None:
    async with serve(api_keys_file=key_file) as client:
        for key in ("user", "operator", "user"):
            await client.post("/v1/score", json={"texts": ["a"]}, headers=bearer(key))
    scopes = [request.cache_scope for request in engine.requests]
    assert scopes == ["user", "operator", "user"]


def access_fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    records = [record for record in caplog.records if record.name == "service.access"]
    return [record.__dict__["fields"] for record in records]


async def test_every_request_has_its_line(
    serve: Serve, key_file: Path, caplog: pytest.LogCaptureFixture, served: ServedModel
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    async with serve(api_keys_file=key_file) as client:
        body = {"prompt": "the cat", "max_tokens": 3, "ignore_eos": True}
        await client.post("/v1/completions", json=body, headers=bearer("user"))
        await client.get("/v1/models/secret", headers=bearer("wrong"))
        await client.get("/secret", headers=bearer("user"))
        await client.post("/v1/score", json={"texts": 5, "secret": 1}, headers=bearer("user"))
    done, wrong, unknown, invalid = access_fields(caplog)
    assert (done["key"], done["model"], done["route"]) == ("user", served.name, "/v1/completions")
    assert (done["status"], done["new_tokens"]) == (200, 3)
    assert 0 < done["first_ms"] <= done["total_ms"]
    assert (wrong["status"], wrong["key"]) == (401, None)
    assert (unknown["status"], unknown["route"]) == (404, "unmatched")
    assert invalid["status"] == 400
    assert "secret" not in caplog.text
    assert "the cat" not in caplog.text


async def test_a_client_cannot_write_lines_of_its_own(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    body = {"prompt": "a", "max_tokens": 1, "x\nfake line": 1, **{f"f{k}": 1 for k in range(500)}}
    await client.post("/v1/completions", json=body)
    await client.get("/v1/models", headers={"x-request-id": "a\x7fb"})
    assert "fake" not in caplog.text
    assert len(caplog.records) < 10


@pytest.mark.parametrize(
    ("route", "fields"),
    [
        ("/v1/completions", {"prompt": "a", "max_tokens": 1, "stream_options": {"z": 1}}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a", "z": 1}]}),
        ("/v1/responses", {"input": [{"role": "user", "content": "a", "z": 1}]}),
        ("/v1/embeddings", {"input": "a", "z": 1}),
        ("/tokenize", {"messages": [{"role": "user", "content": "a", "z": 1}]}),
        ("/detokenize", {"tokens": [40], "z": 1}),
    ],
)
async def test_how_many_fields_were_ignored_is_logged_and_not_which(
    client: httpx.AsyncClient,
    caplog: pytest.LogCaptureFixture,
    route: str,
    fields: dict[str, Any],
) -> None:
    caplog.set_level(logging.INFO, "service.access")
    if "stream_options" in fields:
        fields = {**fields, "stream": True}
    answer = await client.post(route, json={**fields, "secret": 1})
    assert answer.status_code == 200
    (told,) = access_fields(caplog)
    assert told["ignored_fields"] == 2
    assert "secret" not in caplog.text
    await client.get("/v1/models")
    assert access_fields(caplog)[1]["ignored_fields"] is None
