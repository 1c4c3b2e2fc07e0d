"""The OpenAI endpoints: `POST /v1/completions` and `POST /v1/chat/completions`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from service.api.client import ModelClient
from service.api.openai.chat import chat_job
from service.api.openai.completions import completion_job
from service.api.openai.jobs import Job, answer_whole, check_listed
from service.api.openai.requests import ChatCompletionRequest, CompletionRequest
from service.api.openai.responses import ChatCompletionResponse, CompletionResponse, answers
from service.api.openai.streaming import answer_in_parts
from service.api.schemas import error_responses
from service.http.json_body import StrictRoute

router = APIRouter(route_class=StrictRoute, tags=["openai"])


@router.post(
    "/v1/completions",
    summary="Continue a prompt",
    description="OpenAI's form, with vLLM's further fields. Fields of theirs that would change the "
    "meaning and are not offered are refused by name.",
    operation_id="completions",
    response_model=CompletionResponse,
    responses={
        **answers(
            CompletionResponse,
            '{"id":"cmpl-7c1f","created":1700000000,"model":"default","object":"text_completion",'
            '"choices":[{"index":0,"text":" stormy","logprobs":null,"finish_reason":null}]}',
        ),
        **error_responses(),
    },
)
async def completions(request: Request, body: Annotated[CompletionRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    return await _run(request, await completion_job(client, body))


@router.post(
    "/v1/chat/completions",
    summary="Answer a conversation",
    description="OpenAI's form, with vLLM's further fields. Roles are control tokens of the "
    "checkpoint, which no text of a message can spell; a checkpoint that was not trained for chat "
    "refuses. With `return_state` the next request sends the new messages alone, with the `state`.",
    operation_id="chat_completions",
    response_model=ChatCompletionResponse,
    responses={
        **answers(
            ChatCompletionResponse,
            '{"id":"chatcmpl-7c1f","created":1700000000,"model":"default",'
            '"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" fine"},'
            '"logprobs":null,"finish_reason":null}]}',
        ),
        **error_responses(),
    },
)
async def chat_completions(
    request: Request, body: Annotated[ChatCompletionRequest, Body()]
) -> Response:
    client = await ModelClient.connect(request, body.model)
    return await _run(request, await chat_job(client, body))


async def _run(request: Request, job: Job) -> Response:
    """The answer to a job, whole or in parts. The client's departure ends it."""
    check_listed(job)
    return await (answer_in_parts(request, job) if job.body.stream else answer_whole(job))
