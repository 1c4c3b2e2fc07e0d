"""A path that is no route: its 404 says what was meant."""

from __future__ import annotations

import httpx
import pytest

from service.http import nearest_route


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/completions", "/v1/completions"),
        ("/completion", "/v1/completions"),
        ("/v1/completion", "/v1/completions"),
        ("/v1/tokenize", "/tokenize"),
        ("/detokenise", "/detokenize"),
        ("/apply-template", "/tokenize with messages"),
        ("/props", "/v1/models"),
        ("/slots", "/metrics"),
        ("/infill", "/v1/score with before"),
        ("/v1/rerank", "/v1/score with a context, or /v1/rescore"),
        ("/v1/messages", "/v1/chat/completions"),
        ("/api/chat", "/v1/chat/completions"),
        ("/v1/scores", "/v1/score"),
    ],
)
async def test_it_is_named(client: httpx.AsyncClient, path: str, meant: str) -> None:
    for response in (await client.post(path, json={}), await client.get(path)):
        assert response.status_code == 404
        error = response.json()["error"]
        assert error["message"].startswith("no such route; did you mean " + meant)
        assert error["code"] == "not_found"


async def test_the_base_url_is_spoken_of_where_its_end_is_missing(
    client: httpx.AsyncClient,
) -> None:
    for path, is_told in (("/completions", True), ("/v1/tokenize", False)):
        message = (await client.post(path, json={})).json()["error"]["message"]
        assert ("a base URL that ends in /v1" in message) is is_told


async def test_nothing_is_made_up(client: httpx.AsyncClient) -> None:
    for path in ("/somewhere/else", "/v1", "/v1/", "/" + "x" * 5000):
        message = (await client.get(path)).json()["error"]["message"]
        assert message == "no such route; /docs lists them"


async def test_every_hint_is_a_route(client: httpx.AsyncClient) -> None:
    known = (await client.get("/openapi.json")).json()["paths"].keys()
    for hint in nearest_route._ELSEWHERE.values():
        named = [word.rstrip(",") for word in hint.split() if word.startswith("/")]
        assert named
        assert set(named) <= known | {"/metrics"}
