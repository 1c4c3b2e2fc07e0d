"""Every refusal that `POST /v1/rescore` promises, before it computes anything."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.service.api.rescoring import REQUEST, refusal
from tests.service.conftest import Serve
from tests.service.plain_engine import PlainEngine


def hypotheses(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"hypotheses": [{"text": "fine"}]}, {"hypotheses": list(items)}]


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "utterances", "is required"),
        ({"utterances": {}}, "utterances", "list"),
        ({"utterances": [{}]}, "utterances.0.hypotheses", "is required"),
        ({"utterances": hypotheses({})}, "utterances.1.hypotheses.0.text", "is required"),
        ({"utterances": hypotheses({"text": 3})}, "utterances.1.hypotheses.0.text", "string"),
        (
            {"utterances": hypotheses({"text": "a", "score": "-3"})},
            "utterances.1.hypotheses.0.score",
            "number",
        ),
        (
            {"utterances": hypotheses({"text": "a", "scores": {"n": 1.0}})},
            "utterances.1.hypotheses.0.scores",
            "no weight is given for the score 'n'",
        ),
        (
            {"utterances": [{"hypotheses": [{"text": "a"}]}], "weights": {"ngram": 0.5}},
            "utterances.0.hypotheses.0.scores",
            "the score 'ngram', which has a weight, is missing",
        ),
        (
            {"utterances": hypotheses({"text": "a", "score": 1}, {"text": "b"})},
            "utterances.1.hypotheses.1.score",
            "is missing, while others",
        ),
        (
            {"utterances": hypotheses({"text": "a", "rank": 1})},
            "utterances.1.hypotheses.0.rank",
            "rename",
        ),
        (
            {"utterances": [{"id": "u", "hypotheses": []}] * 2},
            "utterances.1.id",
            "'u' is the id of utterances.0",
        ),
        (
            {"utterances": hypotheses({"text": "a", "score": 1.7e308}), "length_bonus": 1.7e308},
            "utterances.1.hypotheses.0",
            "not a finite number",
        ),
        ({"utterances": [], "normalize": "chars"}, "normalize", "'none', 'tokens' or 'words'"),
        ({"utterances": [], "top_n": 0}, "top_n", "greater than or equal to 1"),
        ({"utterances": [], "lm_weight": "big"}, "lm_weight", "number"),
        ({"utterances": [], "bos": False}, "bos", "True"),
        ({"utterances": [], "context": "a", "state": "x"}, "context", "a state takes the place"),
        ({"utterances": [], "state": "x"}, "state", "not a state of this model"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, engine: PlainEngine, fields: Any, param: str, message: str
) -> None:
    got_param, got_message = await refusal(client, **fields)
    assert got_param == param
    assert message in got_message
    # Only a total can be seen to overflow no sooner than it is computed.
    assert not engine.requests or "finite" in message


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("field", ["score", "confidence"])
async def test_numbers_must_be_finite(client: httpx.AsyncClient, field: str, value: str) -> None:
    """Also in fields that only come back."""
    body = json.dumps({"utterances": [{"hypotheses": [{"text": "a", field: "?"}]}]})
    response = await client.post(
        "/v1/rescore",
        content=body.replace('"?"', value),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == f"utterances.0.hypotheses.0.{field}"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_utterances": 2}, "3 utterances, the limit is 2"),
        ({"max_hypotheses": 3}, "4 hypotheses, the limit is 3"),
        ({"max_prompt_tokens": 20}, "tokens or more, the limit is 20"),
    ],
)
async def test_limits_are_checked_before_any_work(
    serve: Serve, engine: PlainEngine, limits: dict[str, int], message: str
) -> None:
    async with serve(**limits) as client:
        param, got = await refusal(client, **REQUEST)
    assert param == "utterances"
    assert message in got
    assert engine.requests == []


async def test_a_full_queue_refuses_the_whole_call_before_any_work(
    serve: Serve, engine: PlainEngine
) -> None:
    engine.max_active = 0
    async with serve() as client:
        for more in ({}, {"context": "the cat"}, {"carry_context": True}):
            response = await client.post("/v1/rescore", json={**REQUEST, **more})
            assert response.status_code == 429
            assert "retry-after" in response.headers
    assert engine.requests == []
