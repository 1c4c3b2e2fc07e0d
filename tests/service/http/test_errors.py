"""Every refusal in one form, on every route, whatever was wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.api.schemas import ErrorResponse
from tests.service.conftest import Serve
from tests.service.plain_engine import PlainEngine

JSON = {"content-type": "application/json"}
POSTS = ["/v1/score", "/v1/next-token", "/tokenize", "/detokenize"]


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    ErrorResponse.model_validate(body)
    assert response.headers["x-request-id"]
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("route", POSTS)
@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "empty"),
        (b"{", "no valid JSON: EOF"),
        (b"[]", "must be a JSON object, not []"),
        (b"null", "empty"),
        (b"5", "must be a JSON object, not 5"),
        (b"\xff\xfe", "no valid JSON"),
        (b'{"a": "\xff"}', "no valid JSON"),
        (b'{"x": NaN}', "x: NaN and Infinity are not JSON"),
        (b'{"x": [1, {"y": -Infinity}]}', "x.1.y: NaN and Infinity are not JSON"),
        (b'{"x": "a\\ud83d"}', "x: lone surrogate U+D83D at character 1"),
        (b'{"\\udc00": 1}', "lone surrogate U+DC00"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"a":' * 100_000, "recursion limit"),
        (b'{"x": ' + b"9" * 100_000 + b"}", "no valid JSON"),
        (b'{"x": 1} {}', "trailing characters"),
        (b"{'x': 1}", "no valid JSON"),
    ],
)
async def test_malformed_bodies(
    client: httpx.AsyncClient, route: str, body: bytes, fault: str
) -> None:
    error = error_of(await client.post(route, content=body, headers=JSON), 400)
    assert fault in error["message"]
    assert error["code"] == "invalid_json"


@pytest.mark.parametrize("route", POSTS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_a_body_of_another_kind(
    client: httpx.AsyncClient, route: str, kind: str | None
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    error = error_of(await client.post(route, content=b'{"texts": []}', headers=headers), 400)
    assert "content-type: application/json" in error["message"]


async def test_a_number_beyond_floats(client: httpx.AsyncClient) -> None:
    body = b'{"texts": ["a"], "top_logprobs": 1e999}'
    error = error_of(await client.post("/v1/score", content=body, headers=JSON), 400)
    assert error["param"] == "top_logprobs"


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/score/", "/v1/models/a/b", "/docs/../x"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "BREW"])
async def test_unknown_routes(client: httpx.AsyncClient, path: str, method: str) -> None:
    assert error_of(await client.request(method, path), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/score", "POST"),
        ("DELETE", "/v1/next-token", "POST"),
        ("POST", "/v1/models", "GET"),
        ("PUT", "/health/ready", "GET"),
        ("PATCH", "/tokenize", "POST"),
    ],
)
async def test_wrong_methods(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)
    assert error_of(response, 405)["code"] == "method_not_allowed"
    assert response.headers["allow"] == allowed


async def test_large_body_by_its_announced_length(serve: Serve, engine: PlainEngine) -> None:
    async with serve(max_body_bytes=1000) as client:
        response = await client.post("/v1/score", json={"texts": ["a" * 1000]})
        error = error_of(response, 413)
        assert error["code"] == "body_too_large"
        assert "1000 bytes" in error["message"]
        assert engine.requests == []
        padded = json.dumps({"texts": []}).ljust(1000)
        assert (await client.post("/v1/score", content=padded, headers=JSON)).status_code == 200


async def test_large_body_is_refused_while_it_streams(serve: Serve) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield b" " * 100

    async with serve(max_body_bytes=1000) as client:
        error_of(await client.post("/v1/score", content=endless(), headers=JSON), 413)


async def test_full_queue(serve: Serve, engine: PlainEngine) -> None:
    engine.max_active = 0
    async with serve() as client:
        response = await client.post("/v1/score", json={"texts": ["a"]})
        error = error_of(response, 429)
        assert (error["code"], error["type"]) == ("queue_full", "rate_limit_error")
        assert response.headers["retry-after"] == "2"


async def test_engine_that_is_not_there(serve: Serve, engine: PlainEngine) -> None:
    async with serve() as client:
        engine.is_ready = False
        response = await client.post("/v1/score", json={"texts": ["a"]})
        assert error_of(response, 503)["code"] == "unavailable"
        assert int(response.headers["retry-after"]) >= 1


async def test_a_fault_of_our_own_tells_nothing_of_itself(
    serve: Serve, engine: PlainEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("secret detail")

    monkeypatch.setattr(engine, "_outputs", fail)
    async with serve() as client:
        response = await client.post("/v1/score", json={"texts": ["a"]})
        error = error_of(response, 500)
        assert (error["code"], error["type"]) == ("internal_error", "server_error")
        assert "secret" not in response.text


async def test_long_values_are_not_echoed_whole(client: httpx.AsyncClient) -> None:
    error = error_of(await client.post("/v1/score", json={"texts": "x" * 10**6}), 400)
    assert len(error["message"]) < 300


async def test_a_million_faults_are_one_answer(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/score", json={"texts": [True] * 10**6})
    assert error_of(response, 400)["param"] == "texts.0"


@pytest.mark.parametrize(
    ("method", "path", "meant"),
    [
        ("POST", "/chat/completions", "/v1/chat/completions"),
        ("GET", "/models", "/v1/models"),
        ("POST", "/v1/tokenize", "/tokenize"),
    ],
)
async def test_a_base_url_that_is_nearly_right_is_told(
    client: httpx.AsyncClient, method: str, path: str, meant: str
) -> None:
    error = error_of(await client.request(method, path), 404)
    assert f"did you mean {meant}?" in error["message"]
    assert error["code"] == "not_found"


async def test_what_a_route_takes_is_told_to_who_asks(client: httpx.AsyncClient) -> None:
    for path, allowed in (("/v1/models", "GET, HEAD, OPTIONS"), ("/v1/score", "POST, OPTIONS")):
        answer = await client.options(path)
        assert (answer.status_code, answer.headers["allow"]) == (204, allowed)
        assert answer.content == b""
        # Nothing that lets a page of another origin in.
        assert not any(name.startswith("access-control") for name in answer.headers)


async def test_a_model_that_is_nearly_right_is_told(client: httpx.AsyncClient) -> None:
    for response in (
        await client.post("/v1/score", json={"texts": [], "model": "tinny"}),
        await client.get("/v1/models/tinny"),
    ):
        assert "did you mean 'tiny'?" in error_of(response, 404)["message"]


async def test_what_is_quoted_of_a_huge_value_is_its_beginning(client: httpx.AsyncClient) -> None:
    body = {"texts": {"a": ["x" * 1000] * 1000}}
    message = error_of(await client.post("/v1/score", json=body), 400)["message"]
    assert len(message) < 200


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": []}, "prompt: list should have at least 1 item, not 0"),
        ({"prompt": "a", "stop": ["x"] * 17}, "stop: list should have at most 16 items, not 17"),
    ],
)
async def test_a_list_of_a_wrong_length_is_told_its_length(
    client: httpx.AsyncClient, fields: dict[str, object], told: str
) -> None:
    response = await client.post("/v1/completions", json=fields)
    assert error_of(response, 400)["message"] == told
