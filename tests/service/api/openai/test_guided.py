"""Guided decoding over HTTP: texts are what was asked for, and probabilities are the model's."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.served_model import ServedModel
from tests.service.event_streams import read_events

pytest.importorskip("llguidance", reason="the extra 'guided' is not installed")

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HELLO = [{"role": "user", "content": "How are you?"}]


async def ask(client: httpx.AsyncClient, url: str, **fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"prompt": "the cat"} if url == COMPLETIONS else {"messages": HELLO}
    response = await client.post(url, json={**base, "max_tokens": 60, "seed": 3, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def text_of(choice: dict[str, Any]) -> str:
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
@pytest.mark.parametrize(
    "pattern", ["[a-c]{2,5}", r"[0-9]+\.[0-9]/x", "(yes|no|Кошка 🙂)", " the( cat)*!", "a?", r"\\/"]
)
async def test_texts_match_the_regular_expression(
    client: httpx.AsyncClient, url: str, pattern: str
) -> None:
    answer = await ask(client, url, guided_regex=pattern, n=6)
    texts = [text_of(choice) for choice in answer["choices"] if choice["finish_reason"] == "stop"]
    assert texts
    assert [text for text in texts if not re.fullmatch(pattern, text)] == []


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
async def test_a_choice_is_one_of_them_with_its_exact_probability(
    client: httpx.AsyncClient, served: ServedModel, url: str
) -> None:
    choices = ["yes", "no", "no way", "猫"]
    answer = await ask(client, url, guided_choice=choices, n=8, return_token_ids=True)
    assert {text_of(choice) for choice in answer["choices"]} <= set(choices)
    assert len({text_of(choice) for choice in answer["choices"]}) > 1
    (listed, *others) = [choice["guided_choice"] for choice in answer["choices"]]
    assert all(other == listed for other in others)
    assert [entry["choice"] for entry in listed] == choices
    assert math.fsum(entry["share"] for entry in listed) == pytest.approx(1)
    prompt = answer.get("prompt_token_ids") or answer["choices"][0]["prompt_token_ids"]
    stops = [served.tokenizer.eos_id]
    if url == CHAT:
        stops.append(served.tokenizer.control_ids["<|end|>"])
    for entry in listed:
        tokens = served.tokenizer.encode(entry["choice"], continuation=url == COMPLETIONS)
        body: dict[str, Any] = {"texts": [[*prompt, *tokens]], "bos": False, "eos": False}
        body |= {"detail": "tokens"}
        scored = (await client.post("/v1/score", json=body)).json()["data"][0]["tokens"]
        total = math.fsum(token["logprob"] for token in scored[len(prompt) :])
        assert entry["logprob"] == pytest.approx(total, abs=1e-5)
        body = {"context": [*prompt, *tokens], "bos": False, "tokens": stops}
        ends = (await client.post("/v1/next-token", json=body)).json()["tokens"]
        mass = math.fsum(math.exp(end["logprob"]) for end in ends)
        assert entry["end_logprob"] == pytest.approx(math.log(mass), abs=1e-5)


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "integer", "minimum": -20, "maximum": 300},
            {"type": "boolean"},
            {"type": "null"},
            {"type": "string", "maxLength": 4},
            {"enum": ["red", "blé", 3]},
            {"const": {"a": [1]}},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda items: {"type": "array", "items": items, "minItems": 1, "maxItems": 2}, inner
        ),
        st.dictionaries(st.sampled_from(["a", "b c", "é"]), inner, min_size=1).map(
            lambda fields: {
                "type": "object",
                "properties": fields,
                "required": sorted(fields),
                "additionalProperties": False,
            }
        ),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts}),
    ),
    max_leaves=4,
)


def conforms(value: Any, schema: dict[str, Any]) -> bool:
    """By the definition of the few keywords of `SCHEMAS`."""
    if "anyOf" in schema:
        return any(conforms(value, part) for part in schema["anyOf"])
    if "const" in schema:
        return bool(value == schema["const"])
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "integer":
            low, high = schema["minimum"], schema["maximum"]
            return type(value) is int and low <= value <= high
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "string":
            return isinstance(value, str) and len(value) <= schema["maxLength"]
        case "array":
            sized = isinstance(value, list) and 1 <= len(value) <= 2
            return sized and all(conforms(item, schema["items"]) for item in value)
    fields = schema["properties"]
    same = isinstance(value, dict) and set(value) == set(fields)
    return same and all(conforms(value[name], part) for name, part in fields.items())


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(schema=SCHEMAS, seed=st.integers(0, 99), chat=st.booleans())
async def test_json_always_parses_and_conforms(
    client: httpx.AsyncClient, schema: dict[str, Any], seed: int, chat: bool
) -> None:
    url = CHAT if chat else COMPLETIONS
    answer = await ask(client, url, guided_json=schema, seed=seed, max_tokens=120)
    (choice,) = answer["choices"]
    if choice["finish_reason"] == "stop":
        assert conforms(json.loads(text_of(choice)), schema)
    else:  # cut at its limit, as any text
        assert answer["usage"]["completion_tokens"] == 120


FORMS: list[dict[str, Any]] = [
    {"guided_json": {"const": {"a": 1}}},
    {"guided_json": '{"const": {"a": 1}}'},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "strict": True, "schema": {"const": {"a": 1}}},
        }
    },
    {"structured_outputs": {"json": {"const": {"a": 1}}}},
]


@pytest.mark.parametrize("fields", FORMS)
async def test_the_forms_of_a_schema_mean_the_same(
    client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    assert json.loads(text_of((await ask(client, CHAT, **fields))["choices"][0])) == {"a": 1}


async def test_streams_seeds_and_logprobs_are_as_everywhere(client: httpx.AsyncClient) -> None:
    fields = {"guided_regex": "[a-e]{3,9}", "logprobs": 2, "n": 2}
    whole = await ask(client, COMPLETIONS, **fields)
    again = await ask(client, COMPLETIONS, **fields)
    assert again["choices"] == whole["choices"]
    body = {"prompt": "the cat", "max_tokens": 60, "seed": 3, "stream": True, **fields}
    texts = ["", ""]
    for event in read_events(await client.post(COMPLETIONS, json=body)):
        choice = event["choices"][0]
        texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in whole["choices"]]
    first = whole["choices"][0]["logprobs"]
    score = {"texts": ["the cat" + first["tokens"][0]], "eos": False, "detail": "tokens"}
    tokens = (await client.post("/v1/score", json=score)).json()["data"][0]["tokens"]
    if tokens[-1]["token"] == first["tokens"][0]:  # the model's own, not the constrained one
        assert tokens[-1]["logprob"] == pytest.approx(first["token_logprobs"][0], abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"guided_regex": "("}, "guided_regex"),
        ({"guided_regex": "(?=a)"}, "guided_regex"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"guided_json": {"type": "strin"}}, "guided_json"),
        ({"guided_json": "{"}, "guided_json"),
        ({"guided_json": False}, "guided_json"),
        ({"guided_json": {"enum": ["x" * 100_000]}}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_regex"),
        ({"guided_regex": "a", "ignore_eos": True}, "ignore_eos"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"structured_outputs": {"grammar": "x"}}, "structured_outputs.grammar"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    for url, base in ((COMPLETIONS, {"prompt": "a"}), (CHAT, {"messages": HELLO})):
        response = await client.post(url, json={**base, **fields})
        assert response.status_code == 400, response.text
        assert response.json()["error"]["param"] == param
