"""Explaining what is wrong with a body costs no more than reading it did."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.json_body import _STRING, JSONBody, _find_fault

JSON = {"content-type": "application/json"}
_DEEP = b"[" * 150 + b"1" + b"]" * 150


@pytest.mark.parametrize("size", [50_000, 250_000, 2_000_000])
@pytest.mark.parametrize("fault", [b"NaN", b'"\\ud83d"', b"}"])
async def test_deep_malformed_bodies_are_refused_at_once(
    client: httpx.AsyncClient, size: int, fault: bytes
) -> None:
    """0.1 MB of them once held the event loop for 3 s, 2 MB for a minute."""
    inner = b",".join([_DEEP] * (size // len(_DEEP)))
    body = b'{"texts": [' + inner + b", " + fault + b"]}"
    started = time.perf_counter()
    response = await client.post("/v1/score", content=body, headers=JSON)
    took = time.perf_counter() - started
    assert response.status_code == 400
    assert response.json()["error"]["code"] in ("invalid_json", "limit_exceeded")
    assert took < 5  # on a busy machine


async def test_a_large_value_is_not_spelled_to_be_quoted(client: httpx.AsyncClient) -> None:
    body = json.dumps({"texts": 5, "bos": [[7] * 100] * 10_000}).encode()
    response = await client.post("/v1/score", content=body, headers=JSON)
    assert response.status_code == 400
    assert len(response.content) < 500


@pytest.mark.parametrize(
    "values", [b"[" + b"[]," * 300_000 + b"1]", b"[" + b"1," * 2_200_000 + b"1]", b"{" * 300_000]
)
async def test_too_many_values_are_refused_before_they_are_read(
    client: httpx.AsyncClient, values: bytes
) -> None:
    response = await client.post("/v1/score", content=b'{"texts": ' + values, headers=JSON)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "limit_exceeded"


@pytest.mark.parametrize("text", ["[{," * 400_000, '\\",' * 400_000 + "[" * 300_000, "\\" * 99])
async def test_punctuation_of_a_text_is_text(client: httpx.AsyncClient, text: str) -> None:
    response = await client.post("/tokenize", json={"prompt": text, "nope": 1})
    assert "limit_exceeded" not in response.text


@given(st.lists(st.text(alphabet='a",[{\\', max_size=8)))
def test_strings_are_taken_out_whole(texts: list[str]) -> None:
    assert _STRING.sub(b"", json.dumps(texts).encode()).count(b"[") == 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(_json)
def test_what_is_json_has_no_fault(value: object) -> None:
    assert _find_fault(value) is None


@given(_json, st.lists(st.one_of(st.integers(0, 3), st.sampled_from("abc")), max_size=6), _json)
def test_the_fault_is_found_where_it_was_put(
    before: object, path: list[int | str], after: object
) -> None:
    value: object = float("nan")
    for step in reversed(path):
        if isinstance(step, int):
            value = [before] * step + [value, after]
        else:
            value = {"0": before, step: value, "z": after}
    found = _find_fault(value)
    assert found is not None
    assert found[0] == (".".join(map(str, path)) or None)


def test_what_is_not_finite_is_null_in_an_answer() -> None:
    assert (
        JSONBody({"a": float("inf"), "b": [float("nan"), 1.5]}).body == b'{"a":null,"b":[null,1.5]}'
    )
