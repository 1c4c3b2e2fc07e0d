"""`POST /v1/score`: how probable are these texts?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.client import (
    collect,
    count_usage,
    new_request_id,
    off_loop,
    read_history,
    sealed_states,
    settle,
)
from service.api.schemas import (
    ModelName,
    RequestModel,
    StateToken,
    TextOrIds,
    TokenLogprob,
    Usage,
    error_responses,
)
from service.engine.request import EngineRequest, Priority, PromptOutput
from service.http.dependencies import AppContext, Context, resolve_model
from service.http.errors import check_count, check_token_ids, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.served_model import ServedModel
from service.text.history import History, Prompt, build_prompt
from service.text.score_figures import Detail, describe_score


class ScoreRequest(RequestModel):
    """Texts to score, each on its own, after one shared context or state."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"texts": ["the cat sat on the mat", "the cat sat in the mat"], "detail": "words"}
            ]
        }
    )

    model: ModelName = "default"
    texts: Annotated[list[TextOrIds], Field(fail_fast=True)] = Field(
        description="each a string, or a list of token ids that is taken as it is"
    )
    context: str = Field("", description="text before every text; conditions it, is not scored")
    state: StateToken | None = None
    bos: bool = Field(
        True,
        description="begin-of-sequence before the context; with `state`, which has its own "
        "beginning, none is put and the answer says false",
    )
    eos: bool = Field(True, description="score end-of-sequence after each text")
    detail: Detail = Field(
        "totals", description="`words` adds the words, `tokens` the words and the tokens"
    )
    top_logprobs: int = Field(
        0, ge=0, description="most probable alternatives beside each token; needs detail `tokens`"
    )
    return_state: bool = Field(
        False, description="return the state after each text (end-of-sequence is not part of it)"
    )


class ScoredToken(TokenLogprob):
    """A token of the text; its `logprob` is null where nothing stands before it."""

    start: int = Field(description="first character of the text that it stands for")
    end: int = Field(description="one past the last; equal to `start` for none")
    top_logprobs: list[TokenLogprob] | None = None


class ScoredWord(BaseModel):
    """A white-space word with the white space before it; the last entry may be end-of-sequence.

    A token that reaches over two words counts for the one in which it ends.
    """

    word: str
    logprob: float | None
    start: int
    end: int


class TextScore(BaseModel):
    """The score of one text. Logarithms are natural."""

    index: int
    logprob: float
    num_tokens: int = Field(description="tokens with a probability, end-of-sequence among them")
    num_words: int = Field(description="white-space words")
    num_bytes: int = Field(description="UTF-8 bytes")
    perplexity: float | None = Field(description="exp(-logprob / num_tokens)")
    word_perplexity: float | None = Field(
        description="exp(-logprob / (num_words + 1 if eos)); null if a token has no probability"
    )
    bits_per_byte: float | None = Field(
        description="-logprob / (ln 2 * num_bytes); null if a token has no probability"
    )
    tokens: list[ScoredToken] | None = None
    words: list[ScoredWord] | None = None
    state: str | None = None


class ScoreResponse(BaseModel):
    """One entry for each text, in their order."""

    object: Literal["list"] = "list"
    model: str
    data: list[TextScore]
    bos: bool
    eos: bool
    usage: Usage


router = APIRouter(route_class=StrictRoute)

# Up to this many tokens a request is as good as interactive.
_BULK_TOKENS = 1024
# A context that would be sent more often than this is turned into a state first.
_SHARED_TOKENS = 4096


@router.post(
    "/v1/score",
    summary="Score texts",
    description="Log-probabilities of texts after an optional context or state, in total, by word "
    "or by token, with perplexities and bits per byte. All texts of a request share the work of "
    "what they have in common.",
    operation_id="score",
    tags=["native"],
    response_model=ScoreResponse,
    responses=error_responses(),
)
async def score(
    request: Request, context: Context, body: Annotated[ScoreRequest, Body()]
) -> Response:
    model = await resolve_model(request, body.model)
    _check(body, context, model)
    history = await read_history(context, model, state=body.state, bos=body.bos, text=body.context)
    is_shared = len(history.ids) * len(body.texts) > _SHARED_TOKENS
    before = replace(history, ids=()) if is_shared else history
    prompts = await off_loop(sum(map(len, body.texts)), _segment, context, before, body)
    num_tokens = len(history.ids) + sum(len(p.ids) - len(before.ids) for p in prompts)
    check_count("texts", num_tokens, context.settings.max_prompt_tokens, "tokens")
    priority = Priority.BULK if num_tokens > _BULK_TOKENS else Priority.INTERACTIVE
    cached_tokens = 0
    if is_shared:
        settled = await settle(model, history, priority)
        prompts = [prompt.with_start(settled.history.start) for prompt in prompts]
        cached_tokens = settled.cached_tokens
    computed = await _compute(model, prompts, body, priority, waits=is_shared)
    states = None
    if body.return_state:
        vectors = [output.state if output is not None else None for output in computed.outputs]
        states = await sealed_states(context, model, [p.after for p in prompts], vectors)
    has_bos = body.bos and body.state is None
    usage = count_usage(
        context, model, num_tokens - has_bos, cached=cached_tokens + computed.cached_tokens
    )
    head = {"object": "list", "model": body.model, "bos": has_bos, "eos": body.eos, "usage": usage}
    return await off_loop(num_tokens, _render, head, body, prompts, computed.outputs, states)


def _check(body: ScoreRequest, context: AppContext, model: ServedModel) -> None:
    """All that can be refused without segmenting a text."""
    vocab_size = model.tokenizer.vocab_size
    check_count("texts", len(body.texts), context.settings.max_texts, "texts")
    if body.top_logprobs and body.detail != "tokens":
        raise invalid("top_logprobs", "needs detail 'tokens', where it is reported")
    if body.top_logprobs > vocab_size:
        raise invalid(
            "top_logprobs", f"{body.top_logprobs} is more than the vocabulary's {vocab_size} tokens"
        )
    for index, text in enumerate(body.texts):
        if not isinstance(text, str):
            check_token_ids(f"texts.{index}", text, model.tokenizer)


def _segment(context: AppContext, before: History, body: ScoreRequest) -> list[Prompt]:
    """The prompts; gives up as soon as they hold more tokens than a request may."""
    limit = context.settings.max_prompt_tokens
    prompts: list[Prompt] = []
    total = 0
    for text in body.texts:
        prompt = build_prompt(before, text, eos=body.eos)
        total += len(prompt.ids) - len(before.ids)
        check_count("texts", total, limit, "tokens or more")
        prompts.append(prompt)
    entries = total * body.top_logprobs
    check_count("top_logprobs", entries, context.settings.max_logprobs, "alternatives in all")
    return prompts


@dataclass(frozen=True, kw_only=True)
class _Computed:
    """The engine's output for each prompt, None for one that left nothing to compute."""

    outputs: list[PromptOutput | None]
    cached_tokens: int


async def _compute(
    model: ServedModel,
    prompts: Sequence[Prompt],
    body: ScoreRequest,
    priority: Priority,
    *,
    waits: bool,
) -> _Computed:
    outputs: list[PromptOutput | None] = [None] * len(prompts)
    needed = [
        index
        for index, prompt in enumerate(prompts)
        if len(prompt.ids) > prompt.first or (body.return_state and prompt.state_at)
    ]
    if not needed:
        return _Computed(outputs=outputs, cached_tokens=0)
    chosen = [prompts[index] for index in needed]
    work = EngineRequest(
        request_id=new_request_id(),
        prompts=tuple(prompt.ids for prompt in chosen),
        start=chosen[0].before.start,
        prompt_logprobs=body.top_logprobs,
        score_from=tuple(prompt.first for prompt in chosen),
        state_at=tuple(prompt.state_at for prompt in chosen) if body.return_state else (),
        priority=priority,
    )
    collected = await collect(model.engine, work, waits=waits)
    for index, output in zip(needed, collected.prompts, strict=True):
        outputs[index] = output
    return _Computed(outputs=outputs, cached_tokens=collected.cached_tokens)


def _render(
    head: dict[str, Any],
    body: ScoreRequest,
    prompts: Sequence[Prompt],
    outputs: Sequence[PromptOutput | None],
    states: Sequence[str] | None,
) -> Response:
    data = []
    for index, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        entry = describe_score(prompt, output, eos=body.eos, detail=body.detail)
        data.append({"index": index, **entry, "state": states[index] if states else None})
    return JSONBody({**head, "data": data})
