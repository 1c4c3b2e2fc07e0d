"""`POST /v1/score`: how probable are these texts?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.client import ModelClient, off_loop
from service.api.schemas import (
    ModelName,
    NativeRequest,
    StateToken,
    TextOrIds,
    TokenLogprob,
    Usage,
    error_responses,
)
from service.engine.request import Priority, PromptOutput
from service.http.errors import ApiError, check_count, check_token_ids, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.text.history import Prompt
from service.text.rescoring import posteriors
from service.text.score_figures import Detail, describe_score


class ScoreRequest(NativeRequest):
    """Texts to score, each on its own, after one shared context or state."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"texts": ["the cat sat on the mat", "the cat sat in the mat"], "detail": "words"},
                {"before": "she went", "candidates": [" home", " to school"], "after": " by bus"},
            ]
        }
    )

    model: ModelName = "default"
    texts: Annotated[list[TextOrIds], Field(fail_fast=True)] | None = Field(
        None, description="each a string, or a list of token ids that is taken as it is"
    )
    before: str = Field("", description="with `candidates`: the text before the gap")
    candidates: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        None,
        description="in place of `texts`: what may stand in a gap. Each is scored together with "
        "`after` and the unfinished word that `before` ends with, and the answer tells its share "
        "among them",
    )
    after: str = Field("", description="with `candidates`: the text after the gap")
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

    @property
    def sources(self) -> Sequence[str | Sequence[int]]:
        """What is scored."""
        if self.candidates is not None:
            return [candidate + self.after for candidate in self.candidates]
        return self.texts or ()

    @property
    def param(self) -> str:
        """The field that says what is scored."""
        return "texts" if self.candidates is None else "candidates"


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
    candidate: str | None = Field(None, description="with `candidates`: the one of this entry")
    share: float | None = Field(
        None, description="its probability among the candidates, if one of them stood in the gap"
    )


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
# What it costs to write one, in characters of a text that is segmented.
_CHARACTERS_PER_ALTERNATIVE = 20


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
async def score(request: Request, body: Annotated[ScoreRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    _check(body, client)
    sources, param = body.sources, body.param
    text, name = (body.context, "context") if param == "texts" else (body.before, "before")
    history = await client.history(state=body.state, bos=body.bos, text=text, param=name)
    if body.candidates is not None:
        # How the unfinished word before the gap is cut depends on the candidate: it is scored, too.
        sources = [f"{history.pending}{source}" for source in sources]
        history = replace(history, pending="")
    is_shared = len(history.ids) * len(sources) > _SHARED_TOKENS
    before = replace(history, ids=()) if is_shared else history
    prompts = await client.prompts(before, sources, eos=body.eos, param=param)
    num_scored = sum(len(prompt.ids) - len(before.ids) for prompt in prompts)
    num_listed = num_scored * body.top_logprobs
    num_tokens = len(history.ids) + num_scored
    check_count("top_logprobs", num_listed, client.settings.max_logprobs, "alternatives in all")
    check_count(param, num_tokens, client.settings.max_prompt_tokens, "tokens")
    client.priority = Priority.BULK if num_tokens > _BULK_TOKENS else Priority.INTERACTIVE
    num_cached = 0
    if is_shared:
        begun, num_cached = await client.as_state(history)
        prompts = [prompt.with_start(begun.start) for prompt in prompts]
    outputs, also_cached = await _compute(client, prompts, body)
    states = None
    if body.return_state:
        computed = [output.state if output is not None else None for output in outputs]
        states = await client.seal_states([prompt.after for prompt in prompts], computed)
    has_bos = body.bos and body.state is None
    usage = client.usage(num_tokens - has_bos, cached=num_cached + also_cached)
    head = {"object": "list", "model": body.model, "bos": has_bos, "eos": body.eos, "usage": usage}
    size = num_tokens + _CHARACTERS_PER_ALTERNATIVE * num_listed
    return await off_loop(size, _render, head, body, prompts, outputs, states)


def _check(body: ScoreRequest, client: ModelClient) -> None:
    """All that can be refused without segmenting a text."""
    vocab_size = client.tokenizer.vocab_size
    _check_gap(body)
    check_count(body.param, len(body.sources), client.settings.max_texts, "texts")
    if body.top_logprobs and body.detail != "tokens":
        raise invalid("top_logprobs", "needs detail 'tokens', where it is reported")
    if body.top_logprobs > vocab_size:
        raise invalid(
            "top_logprobs", f"{body.top_logprobs} is more than the vocabulary's {vocab_size} tokens"
        )
    for index, text in enumerate(body.texts or ()):
        if not isinstance(text, str):
            check_token_ids(f"texts.{index}", text, client.tokenizer)


def _check_gap(body: ScoreRequest) -> None:
    """Either texts after a context, or candidates between two texts."""
    if body.candidates is None:
        if body.texts is None:
            raise ApiError(400, "texts: is required", code="missing_field", param="texts")
        for name in ("before", "after"):
            if getattr(body, name):
                raise invalid(name, "needs candidates, which stand between before and after")
    elif body.texts is not None:
        raise invalid("candidates", "takes the place of texts; send one of the two")
    elif body.context:
        raise invalid("context", "is called before where there are candidates")


async def _compute(
    client: ModelClient, prompts: Sequence[Prompt], body: ScoreRequest
) -> tuple[list[PromptOutput | None], int]:
    """The engine's output for each prompt, None for one that leaves nothing to compute, and how
    many tokens the cache knew."""
    outputs: list[PromptOutput | None] = [None] * len(prompts)
    needed = [
        index
        for index, prompt in enumerate(prompts)
        if len(prompt.ids) > prompt.first or (body.return_state and prompt.state_at)
    ]
    if not needed:
        return outputs, 0
    chosen = [prompts[index] for index in needed]
    computed = await client.compute(
        [prompt.ids for prompt in chosen],
        start=chosen[0].before.start,
        prompt_logprobs=body.top_logprobs,
        score_from=[prompt.first for prompt in chosen],
        state_at=[prompt.state_at for prompt in chosen] if body.return_state else (),
    )
    for index, output in zip(needed, computed.prompts, strict=True):
        outputs[index] = output
    return outputs, computed.cached_tokens


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
    if body.candidates is not None:
        shares = posteriors([entry["logprob"] for entry in data])
        for entry, candidate, share in zip(data, body.candidates, shares, strict=True):
            entry |= {"candidate": candidate, "share": share}
    return JSONBody({**head, "data": data})
