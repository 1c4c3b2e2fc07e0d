"""`POST /v1/advance`: many states, each a word further; what a decoder's beam asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.client import ModelClient, check_begun, gather
from service.api.schemas import (
    KnownFields,
    ModelName,
    NativeRequest,
    StateToken,
    Usage,
    error_responses,
)
from service.http.errors import check_count, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.text.history import History


class AdvanceItem(KnownFields):
    """A state and the word behind it."""

    state: StateToken | None = Field(None, description="null: before a sentence's first word")
    word: str | None = Field(
        description="one word; a space goes before it where the text goes on. null: the "
        "sentence ends here"
    )


class AdvanceRequest(NativeRequest):
    """Any number of pairs of a state and a word."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [{"state": None, "word": "the"}]}]}
    )

    model: ModelName = "default"
    items: Annotated[list[AdvanceItem], Field(fail_fast=True)]
    return_states: bool = Field(True, description="return the state after each word")


class Advanced(BaseModel):
    """What a word costs. state: after it; null at a sentence's end, and if not asked for."""

    logprob: float
    state: str | None = None


class AdvanceResponse(BaseModel):
    """An entry for each item, in their order."""

    object: Literal["list"] = "list"
    model: str
    data: list[Advanced]
    usage: Usage


router = APIRouter(route_class=StrictRoute)


@router.post(
    "/v1/advance",
    summary="Advance many states by a word each",
    description="ln P of a word behind each of many states, and the states after the words: what "
    "the beam of a speech recogniser or translator asks at every step. Over a whole sentence and "
    "its end the logarithms add up to what `/v1/score` gives.",
    operation_id="advance",
    tags=["native"],
    response_model=AdvanceResponse,
    responses=error_responses(),
)
async def advance(request: Request, body: Annotated[AdvanceRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    _check(body, client)
    groups: dict[str | None, list[int]] = {}
    for index, item in enumerate(body.items):
        groups.setdefault(item.state, []).append(index)
    histories = {}
    for token, group in groups.items():
        place = f"items.{group[0]}.state"
        histories[token] = await client.history(state=token, bos=True, state_param=place)
        check_begun(histories[token])
    answers = await gather(
        [
            _advance(client, histories[token], [body.items[i].word for i in group], body)
            for token, group in groups.items()
        ]
    )
    data: dict[int, Advanced] = {}
    for group, (found, _, _) in zip(groups.values(), answers, strict=True):
        data.update(zip(group, found, strict=True))
    usage = client.usage(
        sum(tokens for _, tokens, _ in answers), cached=sum(cached for *_, cached in answers)
    )
    ordered = [data[index].model_dump() for index in range(len(body.items))]
    return JSONBody({"object": "list", "model": body.model, "data": ordered, "usage": usage})


def _check(body: AdvanceRequest, client: ModelClient) -> None:
    check_count("items", len(body.items), client.settings.max_texts, "items")
    for index, item in enumerate(body.items):
        if item.word is not None and item.word.split() != [item.word]:
            raise invalid(
                f"items.{index}.word",
                f"is not one word: {item.word[:40]!r}; null stands for a sentence's end",
            )


async def _advance(
    client: ModelClient, before: History, words: Sequence[str | None], body: AdvanceRequest
) -> tuple[list[Advanced], int, int]:
    """The words behind one state; how many tokens were scored, and were known before."""
    space = " " if before.in_line else ""
    texts = [space + word for word in words if word is not None]
    spoken = await client.prompts(before, texts, eos=False, param="items")
    ended = await client.prompts(before, [""], eos=True, param="items")
    following = iter(spoken)
    prompts = [ended[0] if word is None else next(following) for word in words]
    computed = await client.compute(
        [own.ids for own in prompts],
        start=before.start,
        prompt_logprobs=0,
        score_from=[own.first for own in prompts],
    )
    states = iter(
        await client.seal_states([own.after for own in spoken]) if body.return_states else ()
    )
    found = []
    for word, prompt, output in zip(words, prompts, computed.prompts, strict=True):
        assert output.logprobs is not None
        logprob = float(output.logprobs[prompt.first :].sum(dtype=float))
        found.append(Advanced(logprob=logprob, state=None if word is None else next(states, None)))
    return found, sum(len(own.ids) - own.first for own in prompts), computed.cached_tokens
