"""`POST /v1/next-word`: which whole words may come next?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.client import Computed, ModelClient, check_begun, gather, off_loop
from service.api.schemas import ModelName, NativeRequest, StateToken, Usage, error_responses
from service.engine.request import NextToken, PromptOutput
from service.engine_state import EngineState
from service.http.errors import check_count, invalid, too_many
from service.http.json_body import JSONBody, StrictRoute
from service.text.history import History, TooManyTokensError
from service.text.word_search import (
    Floats,
    Path,
    check_prefix,
    check_word,
    context_tokens,
    encode_words,
    search_words,
    starts_line,
    word_end_logprob,
    word_logprob,
)

router = APIRouter(route_class=StrictRoute)

MAX_TOP_K = 1000
MAX_EXPANSIONS = 1024
# Of all contexts of a request together: about as much work as a million tokens scored.
MAX_ALL_EXPANSIONS = 1 << 16
# Searches of one request at a time: enough to fill the engine's batches, and not its queue.
_CONTEXTS_IN_FLIGHT = 16
# Each asked word takes a whole distribution, and so many are in memory at a time.
_WORDS_AT_A_TIME = 64


class NextWordRequest(NativeRequest):
    """Where the sequence stands, and which words to report."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"context": "the cat sat on the", "top_k": 5, "words": ["mat", "sofa"]},
                {"contexts": ["the cat", "it was a"], "prefixes": ["s", "da"], "top_k": 3},
            ]
        }
    )

    model: ModelName = "default"
    context: str = Field(
        "",
        description="a finished sequence of words; one space at its end belongs to the next word "
        "and changes nothing",
    )
    prefix: str = Field(
        "", description="what has been typed of the next word: `top` lists words that begin with it"
    )
    contexts: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        None,
        min_length=1,
        description="many contexts, each on its own, in place of `context`; the answer then has "
        "`data`, with an entry for each",
    )
    prefixes: Annotated[list[str], Field(fail_fast=True)] | None = Field(
        None, description="in place of `prefix`, one for each of `contexts`"
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

    @property
    def places(self) -> list[tuple[str, str]]:
        """(context, prefix) of each place that is asked for."""
        contexts = [self.context] if self.contexts is None else self.contexts
        return list(zip(contexts, self.prefixes or [self.prefix] * len(contexts), strict=True))


class WordProbability(BaseModel):
    """A word between white space. Its end counts: "the" is not the start of "then"."""

    word: str
    logprob: float = Field(
        description="ln P(the context goes on with the canonical tokens of this word, and with no "
        "more of it)"
    )
    num_tokens: int


class NextWords(BaseModel):
    """What may come next in one place. The six masses are probabilities and add up to 1."""

    top: list[WordProbability] = Field(description="the most probable words found, best first")
    words: list[WordProbability] = Field(description="the words asked for, in that order")
    is_complete: bool = Field(
        description="whether `top` is proved to be the best `top_k`: no word that was not found "
        "can be more probable than the last of them"
    )
    num_expansions: int = Field(description="token paths that the search looked behind")
    context_end_logprob: float = Field(
        description="ln P(the last word of the context ends here), 0 where no word stands before; "
        "subtract it from a word's `logprob` to take that as given, so that the words of a text "
        "multiply to its probability"
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
    excluded_mass: float = Field(description="of words that do not begin with `prefix`")


class NextWordsOfContext(NextWords):
    """The words after one of several contexts. index: its place among them."""

    index: int


class NextWordResponse(NextWords):
    """The answer to one context."""

    object: Literal["next_word"] = "next_word"
    model: str
    bos: bool
    usage: Usage


class NextWordListResponse(BaseModel):
    """The answer to `contexts`, an entry for each, in their order."""

    object: Literal["list"] = "list"
    model: str
    data: list[NextWordsOfContext]
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
    response_model=NextWordResponse | NextWordListResponse,
    responses=error_responses(),
)
async def next_word(request: Request, body: Annotated[NextWordRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    _check(body, client)
    histories = await _read(client, body)
    prompts = list(map(_build_prompt, histories))
    num_tokens = sum(len(prompt) - (body.state is None) for prompt in prompts)
    check_count("contexts", num_tokens, client.settings.max_prompt_tokens, "tokens")
    asked = await _segment(client, body.words, num_tokens=num_tokens)
    slots = asyncio.Semaphore(_CONTEXTS_IN_FLIGHT)

    async def run_one(index: int) -> tuple[dict[str, Any], int]:
        async with slots:
            begun = await _begin(client, histories[index], prompts[index])
            return await _answer(begun, body, index, asked), begun.cached_tokens

    found = await gather([run_one(index) for index in range(len(prompts))])
    usage = client.usage(
        num_tokens + len(prompts) * sum(map(len, asked)), cached=sum(cached for _, cached in found)
    )
    tail = {"bos": body.state is None, "usage": usage}
    if body.contexts is None:
        return JSONBody({"object": "next_word", "model": body.model, **found[0][0], **tail})
    data = [{"index": index, **words} for index, (words, _) in enumerate(found)]
    return JSONBody({"object": "list", "model": body.model, "data": data, **tail})


def _check(body: NextWordRequest, client: ModelClient) -> None:
    """All that can be refused without segmenting a text."""
    settings = client.settings
    check_count("words", len(body.words), settings.max_texts, "words")
    if body.contexts is None:
        if body.prefixes is not None:
            raise invalid("prefixes", "needs contexts; the one of context is prefix")
    else:
        if body.context or body.state is not None:
            raise invalid("contexts", "takes the place of context and state; send one of them")
        check_count("contexts", len(body.contexts), settings.max_texts, "contexts")
        num_prefixes = len(body.contexts) if body.prefixes is None else len(body.prefixes)
        if num_prefixes != len(body.contexts):
            raise invalid("prefixes", f"has {num_prefixes}, contexts {len(body.contexts)}")
        if body.prefixes is not None and body.prefix:
            raise invalid("prefix", "prefixes takes the place of prefix; send one of the two")
    num_expansions = len(body.places) * body.max_expansions
    check_count("max_expansions", num_expansions, MAX_ALL_EXPANSIONS, "expansions in all")
    num_words = len(body.places) * len(body.words)
    check_count("words", num_words, MAX_ALL_EXPANSIONS, "words in all contexts")
    for index, (_, prefix) in enumerate(body.places):
        try:
            check_prefix(prefix)
        except ValueError as error:
            name = "prefix" if body.prefixes is None else f"prefixes.{index}"
            raise invalid(name, str(error)) from None


async def _read(client: ModelClient, body: NextWordRequest) -> list[History]:
    histories = []
    num_tokens = 0
    for index, (text, _) in enumerate(body.places):
        param = "context" if body.contexts is None else f"contexts.{index}"
        history = await client.history(state=body.state, bos=True, text=text, param=param)
        check_begun(history)
        num_tokens += len(history.ids)
        check_count(param, num_tokens, client.settings.max_prompt_tokens, "tokens in all")
        histories.append(history)
    return histories


async def _answer(
    begun: _Begun, body: NextWordRequest, index: int, asked: Sequence[Path]
) -> dict[str, Any]:
    """A `NextWords`."""
    _, prefix = body.places[index]
    found = await search_words(
        begun.expand,
        begun.client.tokenizer,
        top_k=body.top_k,
        max_expansions=body.max_expansions,
        prefix=prefix,
    )
    logprobs = await begun.word_logprobs(asked)
    return {
        "top": [_describe(word.word, word.token_ids, word.logprob) for word in found.words],
        "words": list(map(_describe, body.words, asked, logprobs)),
        "is_complete": found.is_complete,
        "num_expansions": found.num_expansions,
        "context_end_logprob": begun.end_logprob,
        "found_mass": found.found_mass,
        "unexplored_mass": found.unexplored_mass,
        "non_canonical_mass": found.non_canonical_mass,
        "no_word_mass": found.no_word_mass,
        "continued_mass": found.continued_mass,
        "excluded_mass": found.excluded_mass,
    }


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
    """The sequence up to the next word, computed: state, and ln P of each next token.

    end_logprob: ln P(the last word ends here), 0 where there is none.
    """

    client: ModelClient
    state: EngineState
    logprobs: Floats
    end_logprob: float
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
    logprobs = _full(output)
    is_first = starts_line(history.pending, continuation=history.continuation)
    return _Begun(
        client=client,
        state=state,
        logprobs=logprobs,
        end_logprob=0.0 if is_first else word_end_logprob(logprobs, client.tokenizer),
        cached_tokens=computed.cached_tokens,
    )


def _full(output: PromptOutput) -> Floats:
    assert output.next_token is not None
    assert output.next_token.full is not None
    return output.next_token.full


def _describe(word: str, token_ids: Path, logprob: float) -> dict[str, Any]:
    return {"word": word, "logprob": logprob, "num_tokens": len(token_ids)}
