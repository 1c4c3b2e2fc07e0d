"""Whatever a body holds, the answer is one of the documented ones: never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.advance import AdvanceRequest
from service.api.next_token import NextTokenRequest
from service.api.next_word import NextWordRequest
from service.api.openai.field_table import GENERATING, OTHERS
from service.api.rescore_schemas import RescoreRequest
from service.api.schemas import ErrorResponse
from service.api.score import ScoreRequest

# A body that each route takes, and the names of fields that it may have.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "the cat", "max_tokens": 2},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2},
    "/v1/responses": {"input": "a", "max_output_tokens": 2},
    "/v1/embeddings": {"input": "a"},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [9]},
    "/v1/score": {"texts": ["a"]},
    "/v1/next-token": {"context": "a"},
    "/v1/next-word": {"context": "a", "max_expansions": 4},
    "/v1/rescore": {"utterances": [{"hypotheses": [{"text": "a"}]}]},
    "/v1/advance": {"items": [{"state": None, "word": "a"}]},
}
NAMES: dict[str, list[str]] = {
    **{each.url: [*each.served.model_fields, *each.refused] for each in (*GENERATING, *OTHERS)},
    "/v1/score": [*ScoreRequest.model_fields],
    "/v1/next-token": [*NextTokenRequest.model_fields],
    "/v1/next-word": [*NextWordRequest.model_fields],
    "/v1/rescore": [*RescoreRequest.model_fields],
    "/v1/advance": [*AdvanceRequest.model_fields],
}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 5, 21, 359, 360, 2**31, 2**63, -(2**63), 2**64, 10**40]),
    st.sampled_from([0.0, 0.5, 1.0, 1.5, -0.1, 1e300, 1e-300]),
    st.sampled_from(
        ["", "a", " ", "\n", "(", "[ab]+", "{", '{"type": "null"}', "x" * 2000, "resp_"]
    ),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["type", "schema", "json", "choice", "text", "5"]), inner),
    ),
    max_leaves=6,
)


async def check(client: httpx.AsyncClient, url: str, data: st.DataObject) -> None:
    fields = data.draw(st.dictionaries(st.sampled_from(NAMES[url]), VALUES, min_size=1, max_size=3))
    body = json.dumps({**BODIES[url], **fields})
    response = await client.post(url, content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400, 404), (body, response.text)
    if response.status_code == 200:
        assert '"internal_error"' not in response.text
        return
    error = ErrorResponse.model_validate(response.json()).error
    assert error.code
    assert error.param is None or error.message.startswith(error.param)


@pytest.mark.parametrize("url", BODIES)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_body_of_known_names(
    client: httpx.AsyncClient, url: str, data: st.DataObject
) -> None:
    await check(client, url, data)


@pytest.mark.slow
@pytest.mark.parametrize("url", BODIES)
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_thousands_of_them(client: httpx.AsyncClient, url: str, data: st.DataObject) -> None:
    await check(client, url, data)
