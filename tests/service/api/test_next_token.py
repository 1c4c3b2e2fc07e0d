"""`POST /v1/next-token`, and the chain rule that ties it to `/v1/score`."""

from __future__ import annotations

import math
from typing import Any

import httpx
import numpy as np
import pytest

from models.tokenizer import Tokenizer
from service.api.next_token import NextTokenResponse
from tests.service.api.asking import answer_to
from tests.service.conftest import Serve
from tests.service.plain_engine import PlainEngine

RAW = {"accept": "application/octet-stream"}


async def ask(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answered = await answer_to(client, "/v1/next-token", body)
    NextTokenResponse.model_validate(answered)
    return answered


async def test_probabilities_sum_to_one_and_every_form_agrees(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    size = tokenizer.vocab_size
    answer = await ask(client, context="the cat", full=True, top_k=size, tokens=list(range(size)))
    full = answer["logprobs"]
    assert math.fsum(map(math.exp, full)) == pytest.approx(1, abs=1e-5)
    assert [t["id"] for t in answer["tokens"]] == list(range(size))
    assert [t["logprob"] for t in answer["tokens"]] == pytest.approx(full, abs=1e-6)
    order = [t["id"] for t in answer["top"]]
    assert [full[i] for i in order] == sorted(full, reverse=True)
    assert all(t["token"] == tokenizer.piece(t["id"]) for t in answer["top"])
    raw = await client.post("/v1/next-token", json={"context": "the cat"}, headers=RAW)
    assert raw.headers["content-type"] == "application/octet-stream"
    assert np.frombuffer(raw.content, "<f4").tolist() == full


async def test_defaults(client: httpx.AsyncClient) -> None:
    answer = await ask(client)
    assert len(answer["top"]) == 10
    assert (answer["tokens"], answer["logprobs"], answer["state"]) == ([], None, None)
    assert answer["bos"] is True
    assert answer["usage"]["prompt_tokens"] == 0


async def test_chain_rule(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    """A text's score is the sum of next-token log-probabilities along it."""
    text = "the cat sat on the mat 🙂"
    ids = [*tokenizer.encode(text), tokenizer.eos_id]
    total = 0.0
    for k, token_id in enumerate(ids):
        (token,) = (await ask(client, context=ids[:k], tokens=[token_id]))["tokens"]
        total += token["logprob"]
    scored = await client.post("/v1/score", json={"texts": [text]})
    assert scored.json()["data"][0]["logprob"] == pytest.approx(total, abs=1e-4)


async def test_tokens_by_name_or_id(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    the = tokenizer.piece_to_id("▁the")
    by_name, by_id = (await ask(client, context="on", tokens=["▁the", the]))["tokens"]
    assert by_name == by_id
    assert by_name["token"] == "▁the"


@pytest.mark.parametrize("parts", [("the c", "at"), ("", "the"), ("a\n", "b"), ("К", "ошка 🙂")])
async def test_from_a_state_as_from_the_text(
    client: httpx.AsyncClient, parts: tuple[str, str]
) -> None:
    first, second = parts
    state = (await ask(client, context=first, return_state=True))["state"]
    between = await ask(client, state=state, full=True)
    assert between["logprobs"] == (await ask(client, context=first, full=True))["logprobs"]
    assert between["bos"] is False
    body = {"texts": [second], "detail": "tokens", "return_state": True}
    resumed = await client.post("/v1/score", json={**body, "state": state})
    whole = await client.post("/v1/score", json={**body, "context": first})
    assert resumed.json()["data"] == whole.json()["data"]
    end = (await ask(client, context=first + second, return_state=True, bos=True))["state"]
    assert end == (await ask(client, context=first + second, return_state=True))["state"]
    without_eos = await client.post("/v1/score", json={**body, "state": state, "eos": False})
    assert without_eos.json()["data"][0]["state"] == end


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"context": 5}, "context"),
        ({"context": [360]}, "context.0"),
        ({"bos": False}, "context"),
        ({"top_k": -1}, "top_k"),
        ({"top_k": 361}, "top_k"),
        ({"top_k": 1.5}, "top_k"),
        ({"tokens": "▁the"}, "tokens"),
        ({"tokens": ["no such token"]}, "tokens.0"),
        ({"tokens": [1, 360]}, "tokens.1"),
        ({"tokens": [None]}, "tokens.0"),
        ({"state": "x"}, "state"),
        ({"state": "x", "context": "y"}, "context"),
    ],
)
async def test_faults_are_named(
    client: httpx.AsyncClient, engine: PlainEngine, fields: dict[str, Any], param: str
) -> None:
    response = await client.post("/v1/next-token", json=fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")
    assert engine.requests == []


async def test_a_raw_answer_has_no_room_for_a_state(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/next-token", json={"return_state": True}, headers=RAW)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "return_state"


async def test_limits_come_before_work(serve: Serve, engine: PlainEngine) -> None:
    async with serve(max_prompt_tokens=10, max_logprobs=3) as client:
        for fields in ({"context": "cat " * 20}, {"context": [5] * 20}, {"tokens": [1] * 4}):
            response = await client.post("/v1/next-token", json=fields)
            assert response.json()["error"]["code"] == "limit_exceeded"
        assert engine.requests == []
