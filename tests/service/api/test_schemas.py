"""What requests have in common: nulls, whole numbers, unknown fields, reports that stay small."""

from __future__ import annotations

import time
from typing import Annotated, Any

import httpx
import pytest
from pydantic import Field, ValidationError

from service.api.schemas import NativeRequest, RequestModel, numbers_by_name


class Numbers(RequestModel):
    count: int = 3
    factor: float = 0.5
    flag: bool = False
    by_name: Annotated[dict[str, Annotated[float, Field(ge=-1, le=1)]], numbers_by_name(-1, 1)] = (
        Field({})
    )


class Native(NativeRequest):
    context: str = ""
    top_k: int = 1


def test_null_is_the_default() -> None:
    assert Numbers.model_validate(dict.fromkeys(Numbers.model_fields)) == Numbers()


def test_a_whole_number_is_an_integer_however_it_is_written() -> None:
    assert Numbers.model_validate({"count": 4.0, "factor": 2.0}) == Numbers(count=4, factor=2)
    for count in (4.5, "4", True, 1e300):
        with pytest.raises(ValidationError):
            Numbers.model_validate({"count": count})
    with pytest.raises(ValidationError):
        Numbers.model_validate({"flag": 1.0})


@pytest.mark.parametrize(
    ("field", "hint"),
    [
        ("prompt", "did you mean 'context'?"),
        ("contxt", "did you mean 'context'?"),
        ("topk", "did you mean 'top_k'?"),
        ("zzz", "known are context, top_k"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_right_name(field: str, hint: str) -> None:
    with pytest.raises(ValidationError, match="is not a field of this request") as refusal:
        Native.model_validate({field: None})
    assert hint in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "body", "meant"),
    [
        ("/v1/next-token", {"prompt": "hi"}, "context"),
        ("/v1/next-word", {"prompt": "hi"}, "context"),
        ("/v1/score", {"texts": [], "text": "hi"}, "texts"),
        ("/v1/rescore", {"utterances": [], "alpha": 1}, "lm_weight"),
    ],
)
async def test_native_routes_name_the_field(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], meant: str
) -> None:
    error = (await client.post(path, json=body)).json()["error"]
    assert (error["code"], error["param"]) == ("unknown_field", list(body)[-1])
    assert f"did you mean {meant!r}?" in error["message"]


def test_of_a_million_bad_numbers_one_is_reported() -> None:
    values = {str(k): 9.0 for k in range(200_000)}
    started = time.perf_counter()
    for bad in (values, {**values, "x": "text"}, {str(k): True for k in range(200_000)}):
        with pytest.raises(ValidationError) as refusal:
            Numbers.model_validate({"by_name": bad})
        assert refusal.value.error_count() == 1
    with pytest.raises(ValidationError, match="the limit is"):
        Numbers.model_validate({"by_name": {str(k): 0.0 for k in range(300_000)}})
    assert time.perf_counter() - started < 10  # all 600,000 of them: a minute


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("messages", [{"role": "user", "content": ""}] * 50_000),
        ("logit_bias", {str(k): 1e9 for k in range(100_000)}),
        ("stop", [""] * 100_000),
        ("bad_words", [""] * 100_000),
        ("stop_token_ids", [-1] * 100_000),
    ],
)
async def test_huge_lists_are_refused_at_once(
    client: httpx.AsyncClient, field: str, value: Any
) -> None:
    body = {"messages": [{"role": "user", "content": "a"}], field: value}
    started = time.perf_counter()
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith(field)
    assert len(response.content) < 1000
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (
            "/v1/advance",
            {"items": [{"state": None, "wrod": "a", "word": "b"}]},
            "items.0.wrod: is not a field of this request; did you mean 'word'?",
        ),
        (
            "/v1/rescore",
            {"utterances": [], "mixture": {"with": "n", "share": 1, "shares": 1}},
            "mixture.shares: is not a field of this request; did you mean 'share'?",
        ),
    ],
)
async def test_objects_within_a_request_have_no_further_fields_either(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], told: str
) -> None:
    error = (await client.post(path, json=body)).json()["error"]
    assert (error["message"], error["code"]) == (told, "unknown_field")
