"""`POST /v1/next-word`: which whole words may come next?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.client import Computed, ModelClient, check_begun, off_loop
from service.api.schemas import ModelName, NativeRequest, StateToken, Usage, error_responses
from service.engine.request import NextToken, PromptOutput
from service.engine_state import EngineState
from service.http.errors import check_count, invalid, too_many
from service.http.json_body import JSONBody, StrictRoute
from service.text.history import History, TooManyTokensError
from service.text.word_search import (
    Floats,
    Path,
    check_word,
    context_tokens,
    encode_words,
    search_words,
    word_end_logprob,
    word_logprob,
)

router = APIRouter(route_class=StrictRoute)

MAX_TOP_K = 1000
MAX_EXPANSIONS = 1024
# Each asked word takes a whole distribution, and so many are in memory at a time.
_WORDS_AT_A_TIME = 64


class NextWordRequest(NativeRequest):
    """Where the sequence stands, and which words to report."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"context": "the cat sat on the", "top_k": 5, "words": ["mat", "sofa"]}]
        }
    )

    model: ModelName = "default"
    context: str = Field(
        "",
        description="a finished sequence of words; one space at its end belongs to the next word "
        "and changes nothing",
    )
    state: StateToken | None = None
    bos: Literal[True] = Field(
        True,
        description="begin-of-sequence stands before the context; with `state`, which has its own "
        "beginning, none is put and the answer says false",
    )
    top_k: int = Field(
        10, ge=0, le=MAX_TOP_K, description="how many of the most probable words to search for"
    )
    words: Annotated[list[str], Field(fail_fast=True)] = Field(
        [], description="words to report in any case: no spaces or newlines in them"
    )
    max_expansions: int = Field(
        256,
        ge=1,
        le=MAX_EXPANSIONS,
        description="token paths that the search may look behind; more find rarer words",
    )


class WordProbability(BaseModel):
    """A word between white space. Its end counts: "the" is not the start of "then"."""

    word: str
    logprob: float = Field(
        description="ln P(the context goes on with the canonical tokens of this word, and with no "
        "more of it)"
    )
    num_tokens: int


class NextWordResponse(BaseModel):
    """The five masses are probabilities and add up to 1."""

    object: Literal["next_word"] = "next_word"
    model: str
    top: list[WordProbability] = Field(description="the most probable words found, best first")
    words: list[WordProbability] = Field(description="the words asked for, in that order")
    is_complete: bool = Field(
        description="whether `top` is proved to be the best `top_k`: no word that was not found "
        "can be more probable than the last of them"
    )
    num_expansions: int = Field(description="token paths that the search looked behind")
    context_end_logprob: float = Field(
        description="ln P(the last word of the context ends here); subtract it from a word's "
        "`logprob` to take that as given, so that the words of a text multiply to its probability"
    )
    found_mass: float = Field(description="of all words found, more than `top` perhaps")
    unexplored_mass: float = Field(description="of all the search did not look at")
    non_canonical_mass: float = Field(
        description="of token paths seen that spell their text in other than its canonical tokens"
    )
    no_word_mass: float = Field(
        description="of no word: the line or the sequence ends, or more white space follows"
    )
    continued_mass: float = Field(description="of the last word of the context going on")
    bos: bool
    usage: Usage


@router.post(
    "/v1/next-word",
    summary="Most probable next words",
    description="The most probable next whole words after a context or state, by a bounded "
    "best-first search over tokens that also tells the probability it did not explore, and the "
    "exact probability of any chosen words.",
    operation_id="next_word",
    tags=["native"],
    response_model=NextWordResponse,
    responses=error_responses(),
)
async def next_word(request: Request, body: Annotated[NextWordRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    check_count("words", len(body.words), client.settings.max_texts, "words")
    history = await client.history(state=body.state, bos=True, text=body.context)
    check_begun(history)
    prompt = _build_prompt(history)
    asked = await _segment(client, body.words, num_tokens=len(prompt))
    begun = await _begin(client, history, prompt)
    found = await search_words(
        begun.expand, client.tokenizer, top_k=body.top_k, max_expansions=body.max_expansions
    )
    logprobs = await begun.word_logprobs(asked)
    num_tokens = len(prompt) - (body.state is None) + sum(map(len, asked))
    return JSONBody(
        {
            "object": "next_word",
            "model": body.model,
            "top": [_describe(word.word, word.token_ids, word.logprob) for word in found.words],
            "words": list(map(_describe, body.words, asked, logprobs)),
            "is_complete": found.is_complete,
            "num_expansions": found.num_expansions,
            "context_end_logprob": word_end_logprob(begun.logprobs, client.tokenizer),
            "found_mass": found.found_mass,
            "unexplored_mass": found.unexplored_mass,
            "non_canonical_mass": found.non_canonical_mass,
            "no_word_mass": found.no_word_mass,
            "continued_mass": found.continued_mass,
            "bos": body.state is None,
            "usage": client.usage(num_tokens, cached=begun.cached_tokens),
        }
    )


def _build_prompt(history: History) -> Path:
    """The tokens of the context as a finished sequence of words."""
    pending = context_tokens(history.tokenizer, history.pending, continuation=history.continuation)
    return (*history.ids, *pending)


async def _segment(client: ModelClient, words: Sequence[str], *, num_tokens: int) -> list[Path]:
    """Each word's tokens, once all of them are known to be words and within the limit.

    num_tokens: those that the request has already.
    """
    for index, word in enumerate(words):
        try:
            check_word(word)
        except ValueError as error:
            raise invalid(f"words.{index}", str(error)) from None
    limit = client.settings.max_prompt_tokens
    try:
        return await off_loop(
            sum(map(len, words)),
            encode_words,
            client.tokenizer,
            words,
            max_tokens=limit - num_tokens,
        )
    except TooManyTokensError as error:
        raise too_many("words", num_tokens + error.count, limit, "tokens or more") from None


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """The sequence up to the next word, computed: state, and ln P of each next token."""

    client: ModelClient
    state: EngineState
    logprobs: Floats
    cached_tokens: int

    async def expand(self, paths: Sequence[Path]) -> list[Floats]:
        """ln P of every token after each path; all paths go as one tree from the state."""
        if paths == [()]:
            return [self.logprobs]
        collected = await self._compute(paths, scored=False)
        return [_full(output) for output in collected.prompts]

    async def word_logprobs(self, words: Sequence[Path]) -> list[float]:
        """ln P of each word, its end included."""
        logprobs: list[float] = []
        for first in range(0, len(words), _WORDS_AT_A_TIME):
            collected = await self._compute(words[first : first + _WORDS_AT_A_TIME], scored=True)
            for output in collected.prompts:
                assert output.logprobs is not None
                logprobs.append(word_logprob(output.logprobs, _full(output), self.client.tokenizer))
        return logprobs

    async def _compute(self, paths: Sequence[Path], *, scored: bool) -> Computed:
        return await self.client.compute(
            paths,
            start=self.state,
            prompt_logprobs=0 if scored else None,
            next_token=NextToken(full=True),
        )


async def _begin(client: ModelClient, history: History, prompt: Path) -> _Begun:
    computed = await client.compute(
        [prompt],
        start=history.start,
        next_token=NextToken(full=True),
        state_at=[len(prompt) or None],
    )
    (output,) = computed.prompts
    state = output.state if prompt else history.start
    assert state is not None
    return _Begun(
        client=client,
        state=state,
        logprobs=_full(output),
        cached_tokens=computed.cached_tokens,
    )


def _full(output: PromptOutput) -> Floats:
    assert output.next_token is not None
    assert output.next_token.full is not None
    return output.next_token.full


def _describe(word: str, token_ids: Path, logprob: float) -> dict[str, Any]:
    return {"word": word, "logprob": logprob, "num_tokens": len(token_ids)}
