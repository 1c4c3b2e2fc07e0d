"""Streams: the same answer in pieces, the form of the pieces, failures and departures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.engine.request import EngineRequest, RequestOutput
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.conftest import Serve, running
from tests.service.event_streams import merge, read_events
from tests.service.plain_engine import PlainEngine

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
BASE: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"prompt": "the cat", "max_tokens": 30, "seed": 3},
    CHAT: {"messages": [{"role": "user", "content": "the cat"}], "max_tokens": 30, "seed": 3},
}


async def both(
    client: httpx.AsyncClient, url: str, **fields: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The answer to a request, and the events when it is streamed."""
    body = {**BASE[url], **fields}
    whole = await client.post(url, json=body)
    assert whole.status_code == 200, whole.text
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return whole.json(), read_events(await client.post(url, json={**body, **options}))


def flat(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice of a whole answer in the shape that `merge` gives."""
    keys = ("index", "logprobs", "finish_reason", "stop_reason", "state", "guided_choice")
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    return {"text": text, **{key: choice[key] for key in keys if key in choice}}


LOGPROBS: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"logprobs": 2},
    CHAT: {"logprobs": True, "top_logprobs": 2},
}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_streamed_or_not_the_answer_is_the_same(
    client: httpx.AsyncClient, data: st.DataObject
) -> None:
    url = data.draw(st.sampled_from([COMPLETIONS, CHAT]))
    fields: dict[str, Any] = {
        "seed": data.draw(st.integers(0, 1000)),
        "n": data.draw(st.integers(1, 3)),
        "max_tokens": data.draw(st.integers(0, 30)),
        "stop": data.draw(st.lists(st.sampled_from(["e", " t", "\ufffd", "n ", "ш"]), max_size=3)),
        "min_tokens": 0,
        "return_state": data.draw(st.booleans()),
        **(LOGPROBS[url] if data.draw(st.booleans()) else {}),
    }
    fields["min_tokens"] = data.draw(st.integers(0, fields["max_tokens"]))
    if url == COMPLETIONS:
        fields["prompt"] = data.draw(st.sampled_from(["the cat", ["a\n", "of the "], [9, 200]]))
        fields["echo"] = data.draw(st.booleans())
    whole, events = await both(client, url, **fields)
    expected = [flat(choice) for choice in whole["choices"]]
    streamed = merge(events[:-1])
    for choice in (*expected, *streamed):
        if not any((choice["logprobs"] or {}).values()):
            choice["logprobs"] = None  # a stream has no chunk for an empty list of tokens
    assert streamed == expected
    assert events[-1]["usage"] == whole["usage"]


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
async def test_the_form_of_chunks(client: httpx.AsyncClient, url: str) -> None:
    whole, events = await both(client, url)
    *chunks, last = events
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert {chunk["usage"] for chunk in chunks} == {None}
    shared = [(e["id"], e["object"], e["created"], e["model"], e["seed"]) for e in events]
    assert len(set(shared)) == 1
    assert shared[0][1] == ("text_completion" if url == COMPLETIONS else "chat.completion.chunk")
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * (
        len(chunks) - 1
    )
    assert len(chunks) > 10, "the text comes piece by piece"


async def test_the_first_and_last_delta_of_a_chat(client: httpx.AsyncClient) -> None:
    _, events = await both(client, CHAT, n=2)
    deltas: dict[int, list[dict[str, Any]]] = {0: [], 1: []}
    for event in events[:-1]:
        for choice in event["choices"]:
            deltas[choice["index"]].append(choice)
    for choices in deltas.values():
        assert choices[0]["delta"] == {"role": "assistant", "content": ""}
        assert choices[-1]["delta"] == {}
        assert choices[-1]["finish_reason"] in ("stop", "length")
        assert all(set(choice["delta"]) == {"content"} for choice in choices[1:-1])


async def test_without_usage_no_chunk_speaks_of_it(client: httpx.AsyncClient) -> None:
    response = await client.post(COMPLETIONS, json={**BASE[COMPLETIONS], "stream": True})
    assert all("usage" not in event for event in read_events(response))


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("fields", [{}, {"n": 2, "stop": "e"}, {"echo": True}], ids=str)
async def test_ids_of_a_stream_are_those_of_the_whole(
    client: httpx.AsyncClient, url: str, fields: dict[str, Any]
) -> None:
    if url == CHAT and "echo" in fields:
        return
    whole, events = await both(client, url, return_token_ids=True, **LOGPROBS[url], **fields)
    told: dict[int, list[int]] = {}
    for choice in (choice for event in events for choice in event["choices"]):
        told.setdefault(choice["index"], []).extend(choice.get("token_ids", []))
    assert told == {choice["index"]: choice["token_ids"] for choice in whole["choices"]}
    prompts = [event for event in events if "prompt_token_ids" in event]
    if url == CHAT:  # of the answer, in its first chunk alone
        assert prompts == events[:1]
        assert prompts[0]["prompt_token_ids"] == whole["prompt_token_ids"]
        return
    firsts: dict[int, dict[str, Any]] = {}
    for choice in (choice for event in events for choice in event["choices"]):
        assert ("prompt_token_ids" in choice) == (choice["index"] not in firsts)
        firsts.setdefault(choice["index"], choice)
        assert choice["logprobs"] is not None or choice["finish_reason"]
    for choice in whole["choices"]:
        assert firsts[choice["index"]]["prompt_token_ids"] == choice["prompt_token_ids"]


async def test_no_chunk_shows_half_a_character_or_part_of_a_stop_string(
    client: httpx.AsyncClient, served: ServedModel
) -> None:
    encode = served.tokenizer.encode
    euro = encode("€", continuation=True)
    assert len(euro) == 3, "spelled in bytes"
    whole, events = await both(
        client, COMPLETIONS, allowed_token_ids=euro, max_tokens=60, temperature=2, stop="€€"
    )
    texts = [event["choices"][0]["text"] for event in events[:-1]]
    assert "".join(texts) == whole["choices"][0]["text"]
    shown = ""
    for text in texts[:-1]:
        shown += text
        assert not shown.endswith("€"), "it may be the beginning of the stop string"


@dataclass
class Departing:
    """A client on the bare ASGI interface that leaves after some events."""

    events_to_read: int
    num_bodies: int = 0

    async def call(self, app: Any, url: str, body: dict[str, Any]) -> None:
        request = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if request:
                return request.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                self.num_bodies += 1
                if self.num_bodies >= self.events_to_read:
                    left.set()

        scope = {
            "type": "http",
            "method": "POST",
            "path": url,
            "raw_path": url.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "server": ("service", 80),
            "client": ("client", 1),
        }
        if self.events_to_read == 0:
            asyncio.get_running_loop().call_later(0.05, left.set)
        await app(scope, receive, send)


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_stops_costing(
    serve: Serve, engine: PlainEngine, url: str, stream: bool
) -> None:
    engine.step_s = 0.005
    async with serve() as http:
        app = http._transport.app  # type: ignore[attr-defined]
        body = {**BASE[url], "max_tokens": 5000, "ignore_eos": True, "stream": stream}
        async with asyncio.timeout(2):
            await Departing(events_to_read=4 if stream else 0).call(app, url, body)
        assert len(engine.requests) == 1
        assert not engine.active
        assert not engine.finished
        assert app.state.context.lifecycle.in_flight == 0


async def test_what_is_refused_before_the_first_token_has_a_status(
    serve: Serve, engine: PlainEngine
) -> None:
    engine.max_active = 0
    async with serve() as http:
        for url in (COMPLETIONS, CHAT):
            response = await http.post(url, json={**BASE[url], "stream": True})
            assert response.status_code == 429
            assert response.headers["retry-after"] == "2"


async def test_a_failure_in_the_middle_is_an_event(serve: Serve, engine: PlainEngine) -> None:
    engine.fails_after = 3
    async with serve() as http:
        for url in (COMPLETIONS, CHAT):
            body = {**BASE[url], "stream": True, "ignore_eos": True, "max_tokens": 20}
            events = read_events(await http.post(url, json=body))
            assert len(events) > 2
            assert set(events[-1]) == {"error"}
            assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
            assert events[-1]["error"]["code"] == "unavailable"
            assert all("choices" in event for event in events[:-1])


async def test_heartbeats_while_the_engine_is_slow(serve: Serve, engine: PlainEngine) -> None:
    engine.step_s = 0.1
    async with serve(heartbeat_s=0.02) as http:
        body = {**BASE[COMPLETIONS], "stream": True, "max_tokens": 3}
        response = await http.post(COMPLETIONS, json=body)
        assert response.text.count("\n\n: ") + response.text.startswith(": ") >= 3
        assert merge(read_events(response))[0]["finish_reason"] == "length"


async def test_a_stopped_sample_leaves_the_engine(serve: Serve, engine: PlainEngine) -> None:
    async with serve() as http:
        body = {**BASE[COMPLETIONS], "n": 2, "max_tokens": 500, "ignore_eos": True}
        response = await http.post(COMPLETIONS, json={**body, "stop": ["e", "t", "a", "i"]})
        answer = response.json()
        assert {choice["finish_reason"] for choice in answer["choices"]} == {"stop"}
        assert answer["usage"]["completion_tokens"] < 200
        assert engine.finished, "the request came to its end by itself"


class BurstingEngine(PlainEngine):
    """Tells of several tokens at once, as an engine does whose streams are alone."""

    async def submit(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        held: list[RequestOutput] = []
        async for output in super().submit(request):
            held.append(output)
            if len(held) == 5 or output.finished:
                tokens = tuple(token for one in held for token in one.tokens)
                prompts = tuple(prompt for one in held for prompt in one.prompts)
                yield held[-1]._replace(tokens=tokens, prompts=prompts)
                held.clear()


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
@pytest.mark.parametrize("fields", [{}, {"n": 2, "stop": ["e"]}, {"return_state": True}], ids=str)
async def test_a_burst_gives_the_events_that_its_tokens_would_have_given(
    served: ServedModel, engine: PlainEngine, url: str, fields: dict[str, Any]
) -> None:
    def texts(events: list[dict[str, Any]]) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for choice in (choice for event in events for choice in event["choices"]):
            text = choice["delta"].get("content", "") if "delta" in choice else choice["text"]
            if text:
                found.setdefault(choice["index"], []).append(text)
        return found

    bursting = replace(served, engine=BurstingEngine(engine.model, spellings=engine.spellings))
    told = []
    for model in (served, bursting):
        app = create_app(Settings(), [model])
        async with running(app) as client:
            told.append(texts((await both(client, url, **fields))[1]))
    assert told[0] == told[1]
    assert max(map(len, told[0].values())) > 5
