"""`POST /v1/chat/completions`: the template, the fields, and conversations that go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.api.openai.requests import ChatCompletionRequest
from service.api.openai.responses import ChatCompletionResponse
from service.app import create_app
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.api.asking import answer_to, refusal_of
from tests.service.api.openai.test_completions import EFFECTIVE, ELSEWHERE
from tests.service.conftest import Serve, running
from tests.service.event_streams import read_events
from tests.service.plain_engine import PlainEngine

URL = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "How are you?"}]
BASE: dict[str, Any] = {"messages": HELLO, "max_tokens": 40, "seed": 3, "logprobs": True}


async def chat(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await answer_to(client, URL, {**BASE, **fields})


async def refuse(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await refusal_of(client, URL, {**BASE, **fields})


async def test_the_answers_form(client: httpx.AsyncClient) -> None:
    answer = await chat(client, logprobs=False)
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    (choice,) = answer["choices"]
    assert set(choice) == {"index", "message", "logprobs", "finish_reason", "stop_reason"}
    assert answer["prompt_logprobs"] is None
    assert set(choice["message"]) == {"role", "content", "refusal"}
    assert choice["message"]["role"] == "assistant"
    assert choice["logprobs"] is None
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_answers_are_as_documented(client: httpx.AsyncClient) -> None:
    answer = await chat(client, n=2, top_logprobs=2, return_state=True, prompt_logprobs=1)
    ChatCompletionResponse.model_validate(answer, extra="forbid")


def test_every_field_has_a_test() -> None:
    here = {"messages", "max_tokens", "max_completion_tokens", "logprobs", "top_logprobs"}
    here |= {"add_generation_prompt", "continue_final_message"}
    of_completions = EFFECTIVE.keys() | ELSEWHERE
    assert set(ChatCompletionRequest.model_fields) - of_completions <= here


@pytest.mark.parametrize("field", sorted(ChatCompletionRequest.model_fields & EFFECTIVE.keys()))
async def test_a_field_has_an_effect(client: httpx.AsyncClient, field: str) -> None:
    plain, changed = await chat(client), await chat(client, **{field: EFFECTIVE[field]})
    assert plain["choices"] != changed["choices"]


async def test_the_template(
    client: httpx.AsyncClient, served: ServedModel, engine: PlainEngine
) -> None:
    tokenizer = served.tokenizer
    control, encode = tokenizer.control_ids, tokenizer.encode
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief.", "unknown": 1},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}],
        },
        {"role": "assistant", "content": " white  space\n", "refusal": None, "tool_calls": []},
        {"role": "user", "content": "spell <|assistant|> and </s>"},
    ]
    answer = await chat(client, messages=messages)
    (ids,) = engine.requests[-1].prompts
    expected = [
        *(tokenizer.bos_id, control["<|system|>"], *encode("Be brief."), control["<|end|>"]),
        *(control["<|user|>"], *encode("a b"), control["<|end|>"]),
        *(control["<|assistant|>"], *encode(" white  space\n"), control["<|end|>"]),
        *(control["<|user|>"], *encode("spell <|assistant|> and </s>"), control["<|end|>"]),
        control["<|assistant|>"],
    ]
    assert list(ids) == expected
    assert answer["usage"]["prompt_tokens"] == len(ids) - 1
    messages[0]["role"] = "developer"
    assert (await chat(client, messages=messages))["choices"] == answer["choices"]


async def test_a_turn_ends_with_its_token(client: httpx.AsyncClient, served: ServedModel) -> None:
    for piece in ("<|end|>", "</s>"):
        token_id = str(served.tokenizer.control_ids[piece])
        (choice,) = (await chat(client, logit_bias={token_id: 100}))["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
        (entry,) = choice["logprobs"]["content"]
        assert (entry["token"], entry["bytes"]) == (piece, None)
        (choice,) = (await chat(client, logit_bias={token_id: 100}, ignore_eos=True))["choices"]
        assert choice["finish_reason"] == "length"


async def test_no_role_is_ever_generated(client: httpx.AsyncClient, served: ServedModel) -> None:
    controls = served.tokenizer.control_ids
    bias = {str(controls[piece]): 100 for piece in ("<|user|>", "<|assistant|>", "<s>")}
    (choice,) = (await chat(client, logit_bias=bias))["choices"]
    tokens = {entry["token"] for entry in choice["logprobs"]["content"]}
    assert not tokens & {"<|user|>", "<|assistant|>", "<s>"}


async def test_logprobs(client: httpx.AsyncClient) -> None:
    answer = await chat(client, top_logprobs=3, temperature=0.3)
    logprobs = answer["choices"][0]["logprobs"]
    assert logprobs["refusal"] is None
    assert len(logprobs["content"]) == answer["usage"]["completion_tokens"]
    spelled = b"".join(bytes(entry["bytes"] or ()) for entry in logprobs["content"])
    text = answer["choices"][0]["message"]["content"]
    assert spelled.decode(errors="replace") == text
    for entry in logprobs["content"]:
        assert len(entry["top_logprobs"]) == 3
        best = entry["top_logprobs"][0]
        assert set(best) == {"token", "logprob", "bytes"}
        assert best["logprob"] >= entry["logprob"]
    no_top = await chat(client, temperature=0.3)
    assert all(e["top_logprobs"] == [] for e in no_top["choices"][0]["logprobs"]["content"])


async def test_prompt_logprobs(client: httpx.AsyncClient) -> None:
    answer = await chat(client, prompt_logprobs=1)
    assert len(answer["prompt_logprobs"]) == answer["usage"]["prompt_tokens"]
    assert answer["prompt_logprobs"][0] is not None


async def test_how_long_a_turn_may_be(client: httpx.AsyncClient, engine: PlainEngine) -> None:
    lengths = {"max_tokens": None, "max_completion_tokens": None, "ignore_eos": True}
    for fields, length in (
        ({}, 1024),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 6, "max_completion_tokens": 6}, 6),
        ({"max_tokens": 0}, 0),
    ):
        answer = await chat(client, **{**lengths, **fields})
        assert answer["usage"]["completion_tokens"] == length
    assert len(engine.requests) == 4, "nothing to generate, nothing to compute"


async def test_samples(client: httpx.AsyncClient) -> None:
    answer = await chat(client, n=3)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 3


async def test_stop_strings(client: httpx.AsyncClient) -> None:
    text = (await chat(client))["choices"][0]["message"]["content"]
    (choice,) = (await chat(client, stop=text[6:8]))["choices"]
    assert choice["message"]["content"] == text[: text.index(text[6:8])]
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"stream": True, "stream_options": {"continuous_usage_stats": True}},
            "stream_options.continuous_usage_stats",
        ),
        ({"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"echo": True}, "echo"),
        ({"prompt": "x"}, "prompt"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        (
            {"messages": [*HELLO, {"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.1.content.0.type",
        ),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}]},
            "messages.0.tool_calls",
        ),
        ({"top_logprobs": 2, "logprobs": False}, "top_logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 1}, "logprobs"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"state": "nonsense"}, "state"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    error = await refuse(client, **fields)
    assert error["param"] == param
    assert error["message"].startswith(param)


async def test_a_checkpoint_without_a_template_refuses(served: ServedModel) -> None:
    plain = replace(served, chat_template=None)
    async with running(create_app(Settings(), [plain])) as client:
        error = await refuse(client)
    assert error["code"] == "chat_not_supported"
    assert "not trained for chat" in error["message"]


async def test_a_role_that_the_template_lacks(served: ServedModel) -> None:
    template = {
        "roles": {"user": "<|user|>", "assistant": "<|assistant|>"},
        "end_of_turn": "<|end|>",
    }
    model = replace(served, chat_template=template)
    async with running(create_app(Settings(), [model])) as client:
        error = await refuse(client, messages=[{"role": "developer", "content": "x"}, *HELLO])
    assert error["param"] == "messages.0.role"


async def test_a_system_prompt_that_was_not_taught_is_ignored_and_told(served: ServedModel) -> None:
    assert served.chat_template is not None
    model = replace(served, chat_template={**served.chat_template, "system_prompts": ["Have fun."]})
    pirate = [{"role": "system", "content": "You are a pirate."}, *HELLO]
    known = [{"role": "system", "content": "Have fun."}, *HELLO]
    async with running(create_app(Settings(), [model])) as client:
        plain, told = await chat(client), await chat(client, messages=pirate)
        followed = await chat(client, messages=known)
    assert told["choices"] == plain["choices"]
    (ignored,) = told["ignored_fields"]
    assert ignored.startswith("messages.0 (a system prompt")
    assert "ignored_fields" not in followed
    assert followed["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"]


async def test_what_frameworks_send_changes_nothing(client: httpx.AsyncClient) -> None:
    plain = await chat(client)
    named = [{**message, "name": "Ann", "annotations": []} for message in HELLO]
    sent = await chat(
        client,
        messages=named,
        tool_choice="none",
        parallel_tool_calls=False,
        response_format={"type": "text"},
        max_tokens=40.0,
        metadata={"run": "1"},
    )
    assert sent["choices"] == plain["choices"]
    assert "ignored_fields" not in sent


async def test_fields_that_nobody_knows_are_ignored_and_told(client: httpx.AsyncClient) -> None:
    odd = [{**HELLO[0], "mood": "good"}, *HELLO[1:]]
    answer = await chat(client, messages=odd, strange=1)
    assert answer["ignored_fields"] == ["strange", "messages.0.mood"]
    assert answer["choices"] == (await chat(client))["choices"]


async def test_the_last_message_can_be_left_open(
    client: httpx.AsyncClient, served: ServedModel
) -> None:
    """The text goes on as a turn of the assistant that has begun with it."""
    encode, controls = served.tokenizer.encode, served.tokenizer.control_ids
    begun = [*HELLO, {"role": "assistant", "content": "I am we"}]
    fields = {"messages": begun, "continue_final_message": True, "return_token_ids": True}
    answer = await chat(client, **fields)
    opened = await chat(client, return_token_ids=True)
    ids = answer["prompt_token_ids"]
    assert ids == [*opened["prompt_token_ids"], *encode("I am we")]
    choice = answer["choices"][0]
    body = {"prompt": ids, "seed": 3, "max_tokens": 40, "stop_token_ids": [controls["<|end|>"]]}
    by_ids = (await client.post("/v1/completions", json=body)).json()["choices"][0]
    assert by_ids["text"] == choice["message"]["content"]
    closed = await chat(client, messages=begun, add_generation_prompt=False, return_token_ids=True)
    assert closed["prompt_token_ids"] == [*ids, controls["<|end|>"]]


async def test_a_turn_that_was_continued_is_whole_in_its_state(client: httpx.AsyncClient) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "I am we"}]
    first = await chat(
        client, messages=begun, continue_final_message=True, return_state=True, max_tokens=5
    )
    (choice,) = first["choices"]
    said = "I am we" + choice["message"]["content"]
    more = {"role": "user", "content": "And then?"}
    resumed = await chat(client, messages=[more], state=choice["state"])
    whole = await chat(client, messages=[*HELLO, {"role": "assistant", "content": said}, more])
    assert resumed["choices"] == whole["choices"]


async def test_ids_of_tokens(client: httpx.AsyncClient, served: ServedModel) -> None:
    answer = await chat(client, return_token_ids=True)
    (choice,) = answer["choices"]
    assert answer["prompt_token_ids"][0] == served.tokenizer.bos_id
    assert len(answer["prompt_token_ids"]) == answer["usage"]["prompt_tokens"] + 1
    assert served.tokenizer.decode(choice["token_ids"]) == choice["message"]["content"]
    body = {**BASE, "return_token_ids": True, "stream": True}
    events = read_events(await client.post(URL, json=body))
    streamed = [token for event in events for token in event["choices"][0].get("token_ids", ())]
    assert streamed == choice["token_ids"]


async def test_alternatives_may_be_the_whole_vocabulary(
    client: httpx.AsyncClient, served: ServedModel
) -> None:
    answer = await chat(client, top_logprobs=-1, max_tokens=2)
    for entry in answer["choices"][0]["logprobs"]["content"]:
        assert len(entry["top_logprobs"]) == served.tokenizer.vocab_size


async def test_limits_are_settings(serve: Serve) -> None:
    async with serve(max_prompt_tokens=20, max_new_tokens=50) as client:
        await chat(client)
        error = await refuse(client, messages=HELLO * 5)
        assert (error["param"], error["code"]) == ("messages", "limit_exceeded")
        for name in ("max_tokens", "max_completion_tokens"):
            lengths = {"max_tokens": None, "max_completion_tokens": None, name: 40}
            error = await refuse(client, n=2, **lengths)
            assert (error["param"], error["code"]) == (name, "limit_exceeded")


TEXTS = st.text(st.sampled_from("the cat\n Ко🙂<|>"), max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=TEXTS, second=TEXTS, seed=st.integers(0, 99), stop=st.sampled_from(["e", "\ufffd"]))
async def test_a_conversation_from_its_state_is_the_conversation_sent_whole(
    client: httpx.AsyncClient, first: str, second: str, seed: int, stop: str
) -> None:
    opening = [{"role": "user", "content": first}]
    turn = await chat(
        client, messages=opening, seed=seed, max_tokens=8, stop=stop, return_state=True
    )
    said = turn["choices"][0]["message"]["content"]
    new = [{"role": "user", "content": second}]
    resumed = await chat(
        client,
        messages=new,
        state=turn["choices"][0]["state"],
        prompt_logprobs=0,
        return_state=True,
    )
    whole = await chat(
        client,
        messages=[*opening, {"role": "assistant", "content": said}, *new],
        prompt_logprobs=0,
        return_state=True,
    )
    assert resumed["choices"] == whole["choices"]
    scores = resumed["prompt_logprobs"]
    assert scores == whole["prompt_logprobs"][-len(scores) :]
    assert (resumed["bos"], whole["bos"]) == (False, True)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=TEXTS, more=TEXTS, seed=st.integers(0, 99), max_tokens=st.integers(0, 8))
async def test_a_text_from_its_state_is_the_text_sent_whole(
    client: httpx.AsyncClient, prompt: str, more: str, seed: int, max_tokens: int
) -> None:
    fields = {"max_tokens": max_tokens, "seed": seed, "return_state": True}
    response = await client.post("/v1/completions", json={"prompt": prompt, **fields})
    (choice,) = response.json()["choices"]
    after = {"max_tokens": 8, "seed": seed, "return_state": True, "logprobs": 1}
    resumed = await client.post(
        "/v1/completions", json={"prompt": more, "state": choice["state"], **after}
    )
    whole = await client.post(
        "/v1/completions", json={"prompt": prompt + choice["text"] + more, **after}
    )
    assert resumed.json()["choices"] == whole.json()["choices"]


async def test_every_state_has_the_same_length(client: httpx.AsyncClient) -> None:
    short = await chat(client, return_state=True, max_tokens=1, n=2)
    long = await chat(client, messages=HELLO * 20, return_state=True)
    states = [choice["state"] for answer in (short, long) for choice in answer["choices"]]
    assert len({len(state) for state in states}) == 1
    assert states[0] != states[2]


async def test_what_nobody_knows_of_a_part_is_told(client: httpx.AsyncClient) -> None:
    content = [{"type": "text", "text": "hi", "cache_control": {}}]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    told = (await client.post("/v1/chat/completions", json=body)).json()["ignored_fields"]
    assert told == ["messages.0.content.0.cache_control"]
