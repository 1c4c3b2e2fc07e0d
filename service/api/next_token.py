"""`POST /v1/next-token`: what may come next?"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from models.tokenizer import Tokenizer
from service.api.client import ModelClient
from service.api.schemas import (
    MAX_LISTED_TOKENS,
    ModelName,
    NativeRequest,
    StateToken,
    TextOrIds,
    TokenId,
    TokenLogprob,
    Usage,
    error_responses,
)
from service.engine.request import NextToken, NextTokenOutput
from service.http.errors import check_count, check_token_ids, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.text.history import Prompt
from service.text.score_figures import name_token

router = APIRouter(route_class=StrictRoute)

_RAW = "application/octet-stream"


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "piece"
    return "id" if isinstance(value, int) else None


TokenChoice = Annotated[
    Annotated[str, Tag("piece")] | Annotated[TokenId, Tag("id")],
    Discriminator(
        _kind,
        custom_error_type="token_choice",
        custom_error_message="must be a token id or a token's name",
    ),
]


class NextTokenRequest(NativeRequest):
    """Where the sequence stands, and what to report of the distribution there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"context": "the cat sat on the", "top_k": 5, "tokens": [2]}]
        }
    )

    model: ModelName = "default"
    context: TextOrIds = Field(
        "", description="what stands before: text, or token ids, which are taken as they are"
    )
    state: StateToken | None = None
    bos: bool = Field(
        True,
        description="begin-of-sequence before the context; with `state`, which has its own "
        "beginning, none is put and the answer says false",
    )
    top_k: int = Field(10, ge=0, description="how many of the most probable tokens to list")
    tokens: Annotated[list[TokenChoice], Field(max_length=MAX_LISTED_TOKENS, fail_fast=True)] = (
        Field([], description="tokens to report in any case, by id or by SentencePiece's name")
    )
    full: bool = Field(False, description="report every token's log-probability, in order of ids")
    return_state: bool = Field(False, description="return the state after the context")


class NextTokenResponse(BaseModel):
    """Natural log-probabilities of the next token."""

    object: Literal["next_token"] = "next_token"
    model: str
    top: list[TokenLogprob] = Field(description="most probable first")
    tokens: list[TokenLogprob] = Field(description="the tokens asked for, in that order")
    logprobs: list[float] | None = Field(description="with `full`, one for each token id")
    bos: bool
    state: str | None
    usage: Usage


_RAW_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The distribution; with `Accept: application/octet-stream` all of its "
        "log-probabilities as little-endian float32, in order of token ids.",
        "content": {_RAW: {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/v1/next-token",
    summary="Distribution over the next token",
    description="The most probable next tokens, any chosen ones, or all of them, after a context "
    "or state.",
    operation_id="next_token",
    tags=["native"],
    response_model=NextTokenResponse,
    responses={**_RAW_ANSWER, **error_responses()},
)
async def next_token(request: Request, body: Annotated[NextTokenRequest, Body()]) -> Response:
    is_raw = _wants_raw(request)
    client = await ModelClient.connect(request, body.model)
    chosen = _check(body, client, is_raw=is_raw)
    prompt = await _build_prompt(client, body)
    wanted = NextToken(
        top_k=0 if is_raw else body.top_k,
        token_ids=() if is_raw else chosen,
        full=body.full or is_raw,
    )
    computed = await client.compute(
        [prompt.ids],
        start=prompt.before.start,
        next_token=wanted,
        state_at=[prompt.state_at] if body.return_state else (),
    )
    (output,) = computed.prompts
    distribution = output.next_token
    assert distribution is not None
    has_bos = body.bos and body.state is None
    usage = client.usage(len(prompt.ids) - has_bos, cached=computed.cached_tokens)
    if is_raw:
        assert distribution.full is not None
        return Response(distribution.full.astype("<f4").tobytes(), media_type=_RAW)
    state = None
    if body.return_state:
        (state,) = await client.seal_states([prompt.after], [output.state])
    answer = {
        "object": "next_token",
        "model": body.model,
        **_describe(client.tokenizer, distribution),
        "bos": has_bos,
        "state": state,
        "usage": usage,
    }
    return JSONBody(answer)


def _wants_raw(request: Request) -> bool:
    ranges = [part.split(";")[0].strip() for part in request.headers.get("accept", "").split(",")]
    return _RAW in ranges and "application/json" not in ranges


def _check(body: NextTokenRequest, client: ModelClient, *, is_raw: bool) -> tuple[int, ...]:
    """Refuse what cannot be answered; returns the ids of the chosen tokens."""
    tokenizer = client.tokenizer
    if is_raw and body.return_state:
        raise invalid("return_state", f"a state comes in JSON only, not in {_RAW}")
    if body.top_k > tokenizer.vocab_size:
        raise invalid(
            "top_k", f"{body.top_k} is more than the vocabulary's {tokenizer.vocab_size} tokens"
        )
    check_count("tokens", len(body.tokens), client.settings.max_logprobs, "tokens")
    chosen = []
    for index, token in enumerate(body.tokens):
        token_id = tokenizer.piece_to_id(token) if isinstance(token, str) else token
        if token_id is None:
            raise invalid(f"tokens.{index}", f"{token!r:.80} is no token of this model")
        chosen.append(token_id)
    check_token_ids("tokens", chosen, tokenizer)
    return tuple(chosen)


async def _build_prompt(client: ModelClient, body: NextTokenRequest) -> Prompt:
    limit = client.settings.max_prompt_tokens
    if body.state is not None and body.context:
        raise invalid("context", "a state takes the place of context; send one of the two")
    if not isinstance(body.context, str):
        check_token_ids("context", body.context, client.tokenizer)
    start = await client.history(state=body.state, bos=body.bos)
    (prompt,) = await client.prompts(start, [body.context], eos=False, param="context")
    check_count("context", len(prompt.ids), limit, "tokens")
    if not prompt.ids and start.start is None:
        raise invalid("context", "is empty, and without bos nothing stands before the next token")
    return prompt


def _describe(tokenizer: Tokenizer, distribution: NextTokenOutput) -> dict[str, Any]:
    full = distribution.full
    return {
        "top": [name_token(tokenizer, *token) for token in distribution.top],
        "tokens": [name_token(tokenizer, *token) for token in distribution.chosen],
        "logprobs": None if full is None else full.tolist(),
    }
