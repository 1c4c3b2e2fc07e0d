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

from service.api.openai.guided import unknown_of_format
from service.http.errors import ApiError
from service.served_model import ServedModel
from tests.service.api.asking import answer_to, refusal_of
from tests.service.conftest import Serve
from tests.service.event_streams import merge, read_events
from tests.service.plain_engine import PlainEngine

pytest.importorskip("llguidance", reason="the extra 'guided' is not installed")

COMPLETIONS, CHAT, RESPONSES = "/v1/completions", "/v1/chat/completions", "/v1/responses"
URLS = [COMPLETIONS, CHAT, RESPONSES]
HELLO = [{"role": "user", "content": "How are you?"}]
BASE: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "the cat", "max_tokens": 60, "seed": 3},
    CHAT: {"messages": HELLO, "max_tokens": 60, "seed": 3},
    RESPONSES: {"input": "How are you?", "max_output_tokens": 60, "seed": 3},
}


async def ask(client: httpx.AsyncClient, url: str, **fields: Any) -> dict[str, Any]:
    return await answer_to(client, url, {**BASE[url], **fields})


def text_of(choice: dict[str, Any]) -> str:
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    assert isinstance(text, str)
    return text


def texts_of(answer: dict[str, Any]) -> list[str]:
    """The texts that came to their end."""
    if answer["object"] == "response":
        return [answer["output"][0]["content"][0]["text"]] * (answer["status"] == "completed")
    return [text_of(one) for one in answer["choices"] if one["finish_reason"] == "stop"]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "pattern", ["[a-c]{2,5}", r"[0-9]+\.[0-9]/x", "(yes|no|Кошка 🙂)", " the( cat)*!", "a?", r"\\/"]
)
async def test_texts_match_the_regular_expression(
    client: httpx.AsyncClient, url: str, pattern: str
) -> None:
    several = {} if url == RESPONSES else {"n": 6}
    texts = texts_of(await ask(client, url, guided_regex=pattern, **several))
    assert len(texts) == several.get("n", 1)
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


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("more", [{}, {"return_state": True}, {"logprobs": True}], ids=str)
async def test_a_stream_tells_the_probabilities_with_its_last_chunk(
    client: httpx.AsyncClient, url: str, more: dict[str, Any]
) -> None:
    fields: dict[str, Any] = {"guided_choice": ["yes", "no", "no way"], "n": 3, **more}
    if url == COMPLETIONS:
        fields |= {"prompt": ["the cat", "a dog"]}
        if "logprobs" in more:
            fields["logprobs"] = 1
    whole = await ask(client, url, **fields)
    events = read_events(await client.post(url, json={**BASE[url], **fields, "stream": True}))
    chunks = [choice for event in events for choice in event["choices"]]
    assert all(("guided_choice" in one) == bool(one["finish_reason"]) for one in chunks)
    told = {one["index"]: one["guided_choice"] for one in merge(events)}
    assert told == {one["index"]: one["guided_choice"] for one in whole["choices"]}
    assert len(told) == (6 if url == COMPLETIONS else 3)


async def test_responses_tell_the_probabilities_of_a_chat(client: httpx.AsyncClient) -> None:
    fields: dict[str, Any] = {"guided_choice": ["yes", "no"]}
    whole = await ask(client, RESPONSES, **fields)
    chat = await ask(client, CHAT, **fields)
    assert whole["guided_choice"] == chat["choices"][0]["guided_choice"]
    assert texts_of(whole) == texts_of(chat)
    streamed = await client.post(RESPONSES, json={**BASE[RESPONSES], **fields, "stream": True})
    last = streamed.text.strip().split("\n\n")[-1].split("\ndata: ")[1]
    assert json.loads(last)["response"]["guided_choice"] == whole["guided_choice"]


async def test_choices_beyond_the_limits_are_refused_before_any_work(
    serve: Serve, engine: PlainEngine
) -> None:
    for limits, fault in (
        ({"max_texts": 3}, "4 choices in all, the limit is 3"),
        ({"max_prompt_tokens": 12}, "tokens at most with the prompts, the limit is 12"),
    ):
        async with serve(**limits) as http:
            for stream in (False, True):
                body = {**BASE[COMPLETIONS], "prompt": ["a", "b"], "stream": stream}
                body["guided_choice"] = ["yes", "no"]
                error = await refusal_of(http, COMPLETIONS, body)
                assert (error["param"], error["code"]) == ("guided_choice", "limit_exceeded")
                assert fault in error["message"]
    assert engine.requests == []


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
@given(schema=SCHEMAS, seed=st.integers(0, 99), url=st.sampled_from(URLS), data=st.data())
async def test_json_always_parses_and_conforms(
    client: httpx.AsyncClient, schema: dict[str, Any], seed: int, url: str, data: st.DataObject
) -> None:
    forms = [{"guided_json": schema}, {"structured_outputs": {"json": schema}}]
    if url == RESPONSES:
        forms += [{"text": {"format": {"type": "json_schema", "name": "x", "schema": schema}}}]
    else:
        forms += [
            {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
            {"response_format": {"type": "json_object", "schema": schema}},
        ]
    limit = "max_output_tokens" if url == RESPONSES else "max_tokens"
    fields = {**data.draw(st.sampled_from(forms)), "seed": seed, limit: 120}
    (text,) = texts_of(await ask(client, url, **fields))
    assert conforms(json.loads(text), schema)


async def test_no_way_out_of_other_fields_is_forced(client: httpx.AsyncClient) -> None:
    """Where they forbid tokens, or an end, a text is cut off at its limit as any other."""
    fields: dict[str, Any] = {"guided_regex": "[a-z]*", "max_tokens": 12}
    assert texts_of(await ask(client, COMPLETIONS, **fields))
    (cut,) = (await ask(client, COMPLETIONS, **fields, min_tokens=12))["choices"]
    assert (cut["finish_reason"], len(cut["text"]) >= 12) == ("length", True)


@pytest.mark.parametrize("url", URLS)
async def test_any_json_object(client: httpx.AsyncClient, url: str) -> None:
    form = {"type": "json_object"}
    fields = {"text": {"format": form}} if url == RESPONSES else {"response_format": form, "n": 4}
    texts = texts_of(await ask(client, url, **fields))
    assert len(texts) == (1 if url == RESPONSES else 4)
    assert all(isinstance(json.loads(text), dict) for text in texts)


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
    {"structured_outputs": {"json": '{"const": {"a": 1}}', "disable_any_whitespace": False}},
    {"response_format": {"type": "json_object", "schema": {"const": {"a": 1}}}},
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
        ({"response_format": {"type": "json_object", "schema": 1}}, "response_format.schema"),
        ({"response_format": {"type": "json_object", "schema": {"type": 1}}}, "response_format"),
        ({"structured_outputs": {"grammar": "x"}}, "structured_outputs.grammar"),
        ({"structured_outputs": {"choise": ["x"]}}, "structured_outputs.choise"),
        ({"structured_outputs": {"choice": "x"}}, "structured_outputs.choice"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"structured_outputs": {"json": {"type": "strin"}}}, "structured_outputs.json"),
        (
            {"structured_outputs": {"regex": "a", "choice": ["a"]}},
            "structured_outputs.regex",
        ),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    for url in URLS:
        if url == RESPONSES and "response_format" in fields:
            continue
        error = await refusal_of(client, url, {**BASE[url], **fields})
        assert error["param"] == param


@pytest.mark.parametrize(
    ("form", "unknown"),
    [
        (None, []),
        ({"type": "text", "schema": None}, []),
        ({"type": "json_object", "schema": {}, "a": 1}, ["response_format.a"]),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "b": 1}},
            ["response_format.json_schema.b"],
        ),
    ],
)
def test_what_nobody_knows_of_a_format_is_told(form: Any, unknown: list[str]) -> None:
    assert unknown_of_format(form) == unknown


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({"type": "text", "schema": {"type": "object"}}, "response_format.schema"),
        ({"type": "json_object", "json_schema": {}}, "response_format.json_schema"),
    ],
)
def test_a_schema_that_would_be_ignored_is_refused(form: Any, param: str) -> None:
    with pytest.raises(ApiError, match="does not go with the type") as refusal:
        unknown_of_format(form)
    assert refusal.value.param == param
