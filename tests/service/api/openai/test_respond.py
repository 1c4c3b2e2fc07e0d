"""`POST /v1/responses` against chat completions, which it is another form of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.api.openai.respond import ResponsesAnswer
from service.app import create_app
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.api.asking import answer_to, refusal_of
from tests.service.conftest import running

URL, CHAT = "/v1/responses", "/v1/chat/completions"
BASE: dict[str, Any] = {"input": "How are you?", "seed": 3, "max_output_tokens": 40}


async def respond(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answered = await answer_to(client, URL, {**BASE, **fields})
    ResponsesAnswer.model_validate(answered)
    return answered


def text_of(answer: dict[str, Any]) -> str:
    (item,) = answer["output"]
    (part,) = item["content"]
    text: str = part["text"]
    return text


async def chat(client: httpx.AsyncClient, messages: list[Any], **fields: Any) -> dict[str, Any]:
    body = {"messages": messages, "seed": 3, "max_tokens": 40, **fields}
    return await answer_to(client, CHAT, body)


async def test_it_says_what_a_chat_says(client: httpx.AsyncClient) -> None:
    answer = await respond(client, instructions="Be kind.")
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How are you?"},
    ]
    same = await chat(client, messages)
    assert text_of(answer) == same["choices"][0]["message"]["content"]
    reason = same["choices"][0]["finish_reason"]
    assert answer["status"] == ("completed" if reason == "stop" else "incomplete")
    usage = answer["usage"]
    assert usage["input_tokens"] == same["usage"]["prompt_tokens"]
    assert usage["output_tokens"] == same["usage"]["completion_tokens"]
    parts = [{"type": "input_text", "text": "How are "}, {"type": "input_text", "text": "you?"}]
    by_items = await respond(
        client,
        input=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": parts}],
    )
    assert by_items["output"][0]["content"] == answer["output"][0]["content"]


async def test_an_id_goes_on_where_its_answer_ended(client: httpx.AsyncClient) -> None:
    first = await respond(client)
    second = await respond(client, input="And then?", previous_response_id=first["id"])
    whole = await respond(
        client,
        input=[
            {"role": "user", "content": "How are you?"},
            first["output"][0],
            {"role": "user", "content": "And then?"},
        ],
    )
    assert text_of(second) == text_of(whole)
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] < whole["usage"]["input_tokens"]


async def test_a_stream_tells_the_same_answer(client: httpx.AsyncClient) -> None:
    whole = await respond(client)
    response = await client.post(URL, json={**BASE, "stream": True})
    events = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"]
    deltas = [event["delta"] for event in events if event["type"].endswith("delta")]
    assert len(deltas) > 2
    assert "".join(deltas) == text_of(whole)
    last = events[-1]["response"]
    assert text_of(last) == text_of(whole)
    assert last["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    more = {"input": "And then?"}
    assert {event["response"]["id"] for event in events if "response" in event} == {last["id"]}
    refused = await client.post(URL, json={**BASE, "previous_response_id": last["id"]})
    assert "metadata.previous_response_id" in refused.json()["error"]["message"]
    state = last["metadata"]["previous_response_id"]
    assert text_of(await respond(client, **more, previous_response_id=state)) == text_of(
        await respond(client, **more, previous_response_id=whole["id"])
    )


async def test_json_of_a_schema(client: httpx.AsyncClient) -> None:
    pytest.importorskip("llguidance", reason="the extra 'guided' is not installed")
    form = {"type": "json_schema", "name": "x", "schema": {"const": {"a": 1}}, "strict": True}
    answer = await respond(client, text={"format": form})
    assert json.loads(text_of(answer)) == {"a": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"top_k": 3, "stop": ["e"]},
        {"presence_penalty": 1.5, "logit_bias": {"40": 3}},
        {"allowed_token_ids": [40, 41, 42], "ignore_eos": True},
        {"min_tokens": 30, "bad_words": ["the"], "stop_token_ids": [50]},
    ],
    ids=str,
)
async def test_fields_of_sampling_mean_what_they_mean_in_a_chat(
    client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    same = await chat(client, [{"role": "user", "content": "How are you?"}], **fields)
    assert text_of(await respond(client, **fields)) == same["choices"][0]["message"]["content"]
    assert text_of(await respond(client)) != text_of(await respond(client, **fields))


async def test_what_is_ignored_of_the_input_is_told(served: ServedModel) -> None:
    assert served.chat_template is not None
    model = replace(served, chat_template={**served.chat_template, "system_prompts": ["Have fun."]})
    async with running(create_app(Settings(), [model])) as client:
        said = {"role": "system", "content": "Be brief."}
        items = [said, {"role": "user", "content": "a"}, said]
        told = (await respond(client, instructions="Be kind.", input=items))["ignored_fields"]
        assert [name.split(" ")[0] for name in told] == ["instructions", "input.0", "input.2"]


async def test_unknown_fields_are_told(client: httpx.AsyncClient) -> None:
    answer = await respond(client, strange=1, metadata={"a": "b"}, store=True, tools=[])
    assert answer["ignored_fields"] == ["strange"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": ""}]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"background": True}, "background"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"previous_response_id": "resp_x"}, "previous_response_id"),
        ({"previous_response_id": "x"}, "previous_response_id"),
        ({"temperature": 3}, "temperature"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -(2**70)}, "seed"),
        ({"n": 2}, "n"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"text": {"format": 3}}, "text.format"),
        ({"text": {"verbosity": "high"}}, "text.verbosity"),
        ({"max_output_tokens": 10**6}, "max_output_tokens"),
        ({"min_tokens": 50}, "min_tokens"),
        ({"stop_token_ids": [360]}, "stop_token_ids.0"),
        ({"input": [{"role": "user", "content": "a"}] * 16_384}, "input"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    error = await refusal_of(client, URL, {**BASE, **fields})
    assert error["param"].startswith(param)


async def test_further_fields_of_a_turn_are_a_chats(client: httpx.AsyncClient) -> None:
    """Those of an answer that is sent back mean nothing."""
    turn = {"role": "user", "content": "hi", "id": "msg_1", "status": "completed", "name": "a"}
    told = await answer_to(client, URL, {**BASE, "input": [turn]})
    assert "ignored_fields" not in told
    told = await answer_to(client, URL, {**BASE, "input": [{**turn, "mood": "good"}]})
    assert told["ignored_fields"] == ["input.0.mood"]
    error = await refusal_of(client, URL, {**BASE, "input": [{**turn, "tool_calls": [{}]}]})
    assert (error["param"], error["code"]) == ("input.0.tool_calls", "unsupported_field")
    error = await refusal_of(client, URL, {**BASE, "input": [{**turn, "name": 5}]})
    assert error["param"] == "input.0.name"


async def test_what_nobody_knows_of_a_format_is_told_by_its_own_name(
    client: httpx.AsyncClient,
) -> None:
    form = {"type": "json_schema", "name": "n", "strict": True, "schema": {}, "odd": 1}
    told = await answer_to(client, URL, {**BASE, "text": {"format": form}})
    assert told["ignored_fields"] == ["text.format.odd"]
