"""`POST /v1/responses`: OpenAI's newer form of a chat. An answer's id is a sealed state."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field, Tag
from pydantic_core import to_json

from models.declarations import TokenCount
from service.api.client import ModelClient
from service.api.openai.chat import chat_job
from service.api.openai.generation import Generation, News
from service.api.openai.jobs import (
    Job,
    check_listed,
    finished_choices,
    guided_choices,
    start,
    states_after,
)
from service.api.openai.known_fields import (
    REFUSED_RESPONSES,
    REFUSED_TEXT,
    refuse_unserved,
    reported,
)
from service.api.openai.requests import (
    MAX_MESSAGES,
    ChatCompletionRequest,
    SamplingRequest,
    either,
)
from service.api.openai.responses import GuidedChoice, answers
from service.api.openai.streaming import answer_in_parts, log_failure
from service.api.schemas import RequestModel, error_responses
from service.http.errors import ApiError, as_api_error, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.text.generated_text import FinishReason

router = APIRouter(route_class=StrictRoute)

Json = dict[str, Any]
_PREFIX = "resp_"
_OF_ANSWERS = ("id", "status")
# A stream has one id from its first event, when no state is there yet.
_STREAMED_ID = re.compile(_PREFIX + "[0-9a-f]{24}")


class InputPart(RequestModel):
    """A piece of a message."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class InputMessage(RequestModel):
    """One turn; those of earlier answers may be sent back as they came."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("text")]
        | Annotated[list[InputPart], Field(fail_fast=True), Tag("list of part")],
        either('must be a string or a list of {"type": "input_text", "text": ...}'),
    ]

    name: str | None = Field(None, description="who speaks: a label that changes nothing")

    def as_chat(self) -> Json:
        """The chat's message, which judges further fields; those of answers mean nothing."""
        parts = [self.content] if isinstance(self.content, str) else [p.text for p in self.content]
        further = {k: v for k, v in (self.model_extra or {}).items() if k not in _OF_ANSWERS}
        return {**further, "role": self.role, "content": "".join(parts)}


InputField = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[
        list[InputMessage],
        # The instructions are one more.
        Field(min_length=1, max_length=MAX_MESSAGES - 1, fail_fast=True),
        Tag("list of part"),
    ],
    either("must be a string or a list of messages"),
]


class ResponsesRequest(SamplingRequest):
    """Answer a conversation. Null means a field's default."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"input": "Hello, how are you?", "max_output_tokens": 40}]}
    )

    input: InputField = Field(description="what the user says, or the conversation")
    instructions: str | None = Field(None, description="a system turn before the input")
    previous_response_id: str | None = Field(
        None, description="the id of an earlier answer, which this one follows"
    )
    max_output_tokens: TokenCount | None = Field(None, description="(1024)")
    text: dict[str, Any] | None = Field(
        None, description='`{"format": ...}`: `text`, `json_object` or `json_schema`'
    )


class ResponsesAnswer(BaseModel):
    """OpenAI's response object, with one message."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(
        description="a sealed state; to go on, send it as `previous_response_id`. Of a stream: a "
        "name, and the state is `metadata.previous_response_id`"
    )
    object: Literal["response"]
    status: Literal["completed", "incomplete", "in_progress"]
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None
    guided_choice: list[GuidedChoice] | None = Field(
        None, description="how probable each was; with `guided_choice`"
    )


@router.post(
    "/v1/responses",
    summary="Answer a conversation, in OpenAI's newer form",
    description="Text in, text out. The server keeps nothing: the `id` of an answer is the sealed "
    "state after it, and `previous_response_id` goes on from there, on any server with the same "
    "key. A stream has its id before there is a state: what to send next is in the last event's "
    "`metadata.previous_response_id`.",
    operation_id="responses",
    tags=["openai"],
    response_model=ResponsesAnswer,
    responses={
        **answers(
            ResponsesAnswer,
            '{"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_7c1f",'
            '"output_index":0,"content_index":0,"delta":" fine","logprobs":[]}',
            has_names=True,
        ),
        **error_responses(),
    },
)
async def responses(request: Request, body: Annotated[ResponsesRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    unknown = refuse_unserved(body.model_extra, REFUSED_RESPONSES)
    unknown += _refuse_text(body.text)
    try:
        job = await chat_job(client, _as_chat(body))
    except ApiError as error:
        raise _in_own_names(error, body) from None
    unknown += [_own_name(name, body) for name in job.form.head.get("ignored_fields", ())]
    client.call.num_ignored = len(unknown)
    check_listed(job)
    answer = _Answer(body, job, reported(unknown))
    if body.stream:
        return await answer_in_parts(request, job, answer.events)
    generation = start(job)
    await generation.run_to_end()
    (choice,) = await finished_choices(job, generation)
    assert choice.state is not None
    usage = job.usage(generation)
    (guided,) = await guided_choices(job)
    whole = answer.whole(
        _PREFIX + choice.state, choice.text, choice.finish_reason, usage, guided=guided
    )
    return JSONBody(whole)


def _as_chat(body: ResponsesRequest) -> ChatCompletionRequest:
    """The chat request that asks for the same."""
    messages: list[Json] = []
    if body.instructions is not None:
        messages.append({"role": "system", "content": body.instructions})
    if isinstance(body.input, str):
        messages.append({"role": "user", "content": body.input})
    else:
        messages += [message.as_chat() for message in body.input]
    state = body.previous_response_id
    if state is not None:
        if not state.startswith(_PREFIX):
            raise invalid("previous_response_id", "is no id of an answer", code="invalid_state")
        if _STREAMED_ID.fullmatch(state):
            raise invalid(
                "previous_response_id",
                "is the id of a streamed answer, which was made before its state; send "
                "metadata.previous_response_id of the stream's last event",
                code="invalid_state",
            )
        state = state.removeprefix(_PREFIX)
    return ChatCompletionRequest.model_validate(
        {
            **{name: getattr(body, name) for name in SamplingRequest.model_fields},
            "messages": messages,
            "state": state,
            "return_state": True,
            "max_completion_tokens": body.max_output_tokens,
            "response_format": _response_format(body.text),
        }
    )


# What a chat request calls them, and this one.
_OWN_NAMES = {
    "messages": "input",
    "state": "previous_response_id",
    "max_completion_tokens": "max_output_tokens",
}
# The longer one first.
_OWN_FORMATS = ("response_format.json_schema", "response_format")


_MESSAGE = re.compile(r"messages\.(\d+)")


def _in_own_names(error: ApiError, body: ResponsesRequest) -> ApiError:
    """A chat's refusal, about the field that this request has in place of the chat's."""
    if error.param is None:
        return error
    fault = error.message.removeprefix(f"{error.param}: ")
    return invalid(_own_name(error.param, body), fault, code=error.code)


def _own_name(name: str, body: ResponsesRequest) -> str:
    """What `body` calls the field that is `name` in the chat request for the same."""
    found = _MESSAGE.match(name)
    if found is None:
        for form in _OWN_FORMATS:
            name = name.replace(form, "text.format")
        return _OWN_NAMES.get(name, name)
    index = int(found[1]) - (body.instructions is not None)
    place = "input" if isinstance(body.input, str) else f"input.{index}"
    return ("instructions" if index < 0 else place) + name[found.end() :]


def _refuse_text(text: Json | None) -> list[str]:
    """Refuse what would change the text beside its format; returns names that nobody knows."""
    others = {name: value for name, value in (text or {}).items() if name != "format"}
    return refuse_unserved(others, REFUSED_TEXT, place="text.")


def _response_format(text: Json | None) -> Json | None:
    match (text or {}).get("format"):
        case None:
            return None
        case {"type": "json_schema", "schema": schema, **others}:
            return {"type": "json_schema", "json_schema": {**others, "schema": schema}}
        case {"type": "text" | "json_object"} as other:
            return dict(other)
    raise invalid(
        "text.format",
        'must be {"type": "text"}, {"type": "json_object"} or '
        '{"type": "json_schema", "name": ..., "schema": ...}',
    )


class _Answer:
    """The answer to a request, as one object or as events."""

    def __init__(self, body: ResponsesRequest, job: Job, ignored: Json) -> None:
        self._body, self._job, self._ignored = body, job, ignored
        self._first_id = _PREFIX + secrets.token_hex(12)
        self._item_id = "msg_" + secrets.token_hex(12)
        self._created = int(time.time())
        self._count = 0

    def _object(self, id_: str, status: str, output: list[Json], usage: Json | None) -> Json:
        body, sampling = self._body, self._job.sampling
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": id_,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": reason,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": {},
            "model": body.model,
            "output": output,
            "parallel_tool_calls": False,
            "previous_response_id": body.previous_response_id,
            "store": False,
            "temperature": sampling.temperature if sampling is not None else body.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": sampling.top_p if sampling is not None else body.top_p,
            "truncation": "disabled",
            "usage": usage,
            "seed": self._job.form.head["seed"],
            "system_fingerprint": self._job.form.head["system_fingerprint"],
            **self._ignored,
        }

    def whole(
        self,
        id_: str,
        text: str,
        reason: FinishReason,
        usage: Json,
        *,
        guided: list[Json] | None,
    ) -> Json:
        status = "completed" if reason == "stop" else "incomplete"
        told = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
        answer = self._object(id_, status, [self._item(status, [_part(text)])], told)
        return answer if guided is None else {**answer, "guided_choice": guided}

    def _item(self, status: str, content: list[Json]) -> Json:
        return {
            "id": self._item_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": content,
        }

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._count, **fields}
        self._count += 1
        return (
            b"event: " + kind.encode() + b"\ndata: " + to_json(data, inf_nan_mode="null") + b"\n\n"
        )

    async def events(
        self,
        job: Job,
        generation: Generation,
        first: asyncio.Task[News],
        news: AsyncGenerator[News],
    ) -> AsyncGenerator[bytes]:
        """Every event of a stream; a failure is one of them."""
        try:
            async for event in self._events(job, generation, first, news):
                yield event
        except Exception as error:
            refusal = as_api_error(error)
            log_failure(job.client.call, refusal)
            yield self._event(
                "error", code=refusal.code, message=refusal.message, param=refusal.param
            )

    async def _events(
        self,
        job: Job,
        generation: Generation,
        first: asyncio.Task[News],
        news: AsyncGenerator[News],
    ) -> AsyncIterator[bytes]:
        place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        begun = self._object(self._first_id, "in_progress", [], None)
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        item = self._item("in_progress", [])
        yield self._event("response.output_item.added", output_index=0, item=item)
        yield self._event("response.content_part.added", **place, part=_part(""))
        (continuation,) = generation.continuations
        texts = []
        await first
        while True:
            text, _ = continuation.take()
            if text:
                texts.append(text)
                delta = {"delta": text, "logprobs": []}
                yield self._event("response.output_text.delta", **place, **delta)
            if await anext(news, None) is None:
                break
        text = "".join([*texts, continuation.take()[0]])
        assert continuation.finish_reason is not None
        (state,) = await states_after(job, [(0, text)])
        usage = job.usage(generation)
        (guided,) = await guided_choices(job)
        answer = self.whole(self._first_id, text, continuation.finish_reason, usage, guided=guided)
        answer["metadata"] = {"previous_response_id": _PREFIX + state}
        done = {"text": text, "logprobs": []}
        yield self._event("response.output_text.done", **place, **done)
        yield self._event("response.content_part.done", **place, part=_part(text))
        yield self._event("response.output_item.done", output_index=0, item=answer["output"][0])
        yield self._event(f"response.{answer['status']}", response=answer)


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
