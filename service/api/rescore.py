"""`POST /v1/rescore`: N-best lists in, re-ranked N-best lists out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from service.api.client import check_begun, collect, new_request_id, off_loop, read_history, settle
from service.api.schemas import ModelName, RequestModel, StateToken, Usage, error_responses
from service.engine.request import EngineRequest, Priority
from service.engine_state import EngineState
from service.http.dependencies import AppContext, Context, resolve_model
from service.http.errors import check_count, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.served_model import ServedModel
from service.text.history import History, Prompt, build_prompt
from service.text.rescoring import (
    Combination,
    Normalize,
    Ranked,
    Scored,
    check_names,
    combine,
    rank,
)


class _Kept(BaseModel):
    """An object of the client's that comes back with all its fields, unknown ones too."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    # As a type, JSON refuses numbers beyond every double, which could not be given back.
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)


class Hypothesis(_Kept):
    """One hypothesis. Logarithms are natural and higher is better; unknown fields come back."""

    text: str
    score: float | None = Field(
        None,
        description="the recogniser's own score, weighted by 1; all hypotheses of a list have one, "
        "or none has and it counts 0",
    )
    scores: dict[str, float] | None = Field(
        None, description="further scores by name, weighted by `weights`"
    )


class Utterance(_Kept):
    """An N-best list of any length, empty ones included; unknown fields come back."""

    id: str | int | None = Field(None, description="comes back; no two lists may have the same")
    hypotheses: Annotated[list[Hypothesis], Field(fail_fast=True)]


_EXAMPLE: dict[str, Any] = {
    "lm_weight": 0.5,
    "length_bonus": 0.0,
    "weights": {"ngram": 0.3},
    "utterances": [
        {
            "id": "utt-1",
            "hypotheses": [
                {"text": "i scream for ice cream", "score": -120.3, "scores": {"ngram": -31.0}},
                {"text": "ice cream for ice cream", "score": -119.8, "scores": {"ngram": -33.5}},
            ],
        }
    ],
}


class RescoreRequest(RequestModel):
    """N-best lists, and how to combine the language model's score with those they bring.

    total = score + sum_k weights[k] * scores[k] + lm_weight * lm_logprob + length_bonus * num_words
    """

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    model: ModelName = "default"
    utterances: Annotated[list[Utterance], Field(fail_fast=True)]
    lm_weight: float = Field(0.5, description="factor of the language model's ln P")
    length_bonus: float = Field(0.0, description="added for each word; negative is a penalty")
    weights: dict[str, float] = Field(
        {}, description="factor of each of `scores`; each hypothesis needs exactly these scores"
    )
    normalize: Normalize = Field(
        "none",
        description="divide ln P by the number of tokens or of words before it is weighted; a "
        "scored end-of-sequence counts as one",
    )
    context: str = Field("", description="text directly before each hypothesis; not scored")
    state: StateToken | None = None
    bos: Literal[True] = Field(
        True,
        description="begin-of-sequence stands before the context; with `state`, which has its own "
        "beginning, none is put and the answer says false",
    )
    eos: bool = Field(True, description="score end-of-sequence after each hypothesis")
    carry_context: bool = Field(
        False,
        description="condition each utterance on the best hypotheses of those before it, each "
        "closed by a newline, after `context`",
    )
    top_n: int | None = Field(None, ge=1, description="return only the best n of each list")


class RankedHypothesis(Hypothesis):
    """The hypothesis as it was sent, and what was found."""

    index: int = Field(description="place in the list that was sent, from 0")
    lm_logprob: float = Field(description="ln P of the text and, with `eos`, of its end")
    num_tokens: int = Field(description="tokens in `lm_logprob`")
    num_words: int = Field(description="white-space words of the text")
    total: float
    rank: int = Field(description="from 1; equal totals keep the order in which they were sent")
    posterior: float = Field(description="softmax of the totals over the whole list")


class RankedUtterance(Utterance):
    """The utterance as it was sent, its hypotheses best first."""

    hypotheses: list[RankedHypothesis]  # type: ignore[assignment]


class RescoreUsage(Usage):
    """What a request took."""

    tree_nodes: int = Field(
        description="tokens left when a prefix that hypotheses of a list share is counted once"
    )


class RescoreResponse(BaseModel):
    """One entry for each utterance, in their order."""

    object: Literal["rescore"] = "rescore"
    model: str
    utterances: list[RankedUtterance]
    lm_weight: float
    length_bonus: float
    weights: dict[str, float]
    normalize: Normalize
    bos: bool
    eos: bool
    carry_context: bool
    top_n: int | None
    usage: RescoreUsage


router = APIRouter(route_class=StrictRoute)

# Lists of one call in the engine at a time: enough to fill its batches, and not its queue.
_LISTS_IN_FLIGHT = 16

# Between an utterance and the next, as between the lines of the running text in training.
_UTTERANCE_END = "\n"

_ADDED = frozenset({"index", "lm_logprob", "num_tokens", "num_words", "total", "rank", "posterior"})


@dataclass(kw_only=True, slots=True)
class _Usage:
    """Counted while the work is done. prompt_tokens: begin-of-sequence not among them."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    tree_nodes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Result:
    """A list's hypotheses with their scores, in the order sent, and their ranking."""

    scored: list[Scored]
    ranked: list[Ranked]


@router.post(
    "/v1/rescore",
    summary="Re-rank N-best lists",
    description="Adds the language model's log-probability to each hypothesis of each N-best list, "
    "combines it with the scores the hypotheses bring, and ranks them. A list is evaluated as one "
    "prefix tree: what its hypotheses have in common is computed once.",
    operation_id="rescore",
    tags=["native"],
    response_model=RescoreResponse,
    responses=error_responses(),
)
async def rescore(
    request: Request, context: Context, body: Annotated[RescoreRequest, Body()]
) -> Response:
    model = await resolve_model(request, body.model)
    _check(body, context)
    history = await read_history(context, model, state=body.state, bos=True, text=body.context)
    check_begun(history)
    rescorer = _Rescorer(model, body)
    await rescorer.prepare(history, context.settings.max_prompt_tokens)
    results = await rescorer.run(history)
    usage = rescorer.usage
    context.metrics.count_tokens(model.name, prompt=usage.prompt_tokens, cached=usage.cached_tokens)
    return JSONBody(
        {
            "object": "rescore",
            "model": body.model,
            "utterances": [
                _describe(utterance, result, body.top_n)
                for utterance, result in zip(body.utterances, results, strict=True)
            ],
            **_echo(body),
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "cached_tokens": min(usage.cached_tokens, usage.prompt_tokens),
                "total_tokens": usage.prompt_tokens,
                "tree_nodes": usage.tree_nodes,
            },
        }
    )


def _check(body: RescoreRequest, context: AppContext) -> None:
    """All that can be refused without segmenting a text."""
    settings, utterances = context.settings, body.utterances
    check_count("utterances", len(utterances), settings.max_utterances, "utterances")
    num_hypotheses = sum(len(utterance.hypotheses) for utterance in utterances)
    check_count("utterances", num_hypotheses, settings.max_hypotheses, "hypotheses")
    first_with: dict[str | int, int] = {}
    for index, utterance in enumerate(utterances):
        if utterance.id is not None:
            first = first_with.setdefault(utterance.id, index)
            if first != index:
                raise invalid(
                    f"utterances.{index}.id", f"{utterance.id!r} is the id of utterances.{first}"
                )
        _check_list(f"utterances.{index}.hypotheses", utterance.hypotheses, body)


def _check_list(param: str, hypotheses: Sequence[Hypothesis], body: RescoreRequest) -> None:
    has_score = any(hypothesis.score is not None for hypothesis in hypotheses)
    for index, hypothesis in enumerate(hypotheses):
        place = f"{param}.{index}"
        if has_score and hypothesis.score is None:
            raise invalid(f"{place}.score", "is missing, while others of the list have one")
        try:
            check_names(hypothesis.scores or {}, body.weights)
        except ValueError as error:
            raise invalid(f"{place}.scores", str(error)) from None
        for name in hypothesis.model_extra or ():
            if name in _ADDED:
                raise invalid(f"{place}.{name}", "is a field that the answer adds: rename it")


class _Rescorer:
    """The work of one request: first all that can be refused, then all that is computed."""

    def __init__(self, model: ServedModel, body: RescoreRequest) -> None:
        self.usage = _Usage()
        self._model, self._body = model, body
        self._combination = Combination(
            lm_weight=body.lm_weight,
            length_bonus=body.length_bonus,
            weights=body.weights,
            normalize=body.normalize,
        )
        self._lists: list[list[Prompt]] = []  # behind what `_start_of` gives
        self._has_begun = False

    async def prepare(self, history: History, max_tokens: int) -> None:
        """Segment every hypothesis; refuse more than `max_tokens` tokens of work."""
        before = self._start_of(history)
        num_tokens = len(history.ids)
        for utterance in self._body.utterances:
            texts = [hypothesis.text for hypothesis in utterance.hypotheses]
            size = sum(map(len, texts))
            prompts = await off_loop(size, _build_prompts, before, texts, eos=self._body.eos)
            self._lists.append(prompts)
            lengths = [len(prompt.ids) for prompt in prompts]
            num_tokens += sum(lengths)
            self.usage.prompt_tokens += sum(lengths) - len(before.ids) * len(prompts)
            if self._body.carry_context and texts:
                num_tokens += max(lengths)
                before = History(tokenizer=self._model.tokenizer)
            check_count("utterances", num_tokens, max_tokens, "tokens")
            await asyncio.sleep(0)  # let other requests have a turn

    async def run(self, history: History) -> list[_Result]:
        """Score and rank every list."""
        if not _is_bos_alone(history):
            history = await self._settle(history)
        if self._body.carry_context:
            return await self._run_in_turn(history)
        slots = asyncio.Semaphore(_LISTS_IN_FLIGHT)

        async def run_one(index: int) -> _Result:
            async with slots:
                return await self._run_list(index, history.start)

        return await _gather([run_one(index) for index in range(len(self._lists))])

    async def _run_in_turn(self, history: History) -> list[_Result]:
        """Each list behind the best hypotheses of those before it."""
        results: list[_Result] = []
        unsettled = False
        for index, utterance in enumerate(self._body.utterances):
            if unsettled and utterance.hypotheses:
                history, unsettled = await self._settle(history), False
            result = await self._run_list(index, history.start)
            results.append(result)
            if result.ranked:
                best = utterance.hypotheses[result.ranked[0].index].text
                history, unsettled = history.with_text(best + _UTTERANCE_END), True
        return results

    async def _settle(self, history: History) -> History:
        if not history.ids:
            return history
        has_bos = history.start is None
        self.usage.prompt_tokens += len(history.ids) - has_bos
        settled = await settle(self._model, history, Priority.BULK, waits=self._goes_on())
        self.usage.cached_tokens += settled.cached_tokens
        return settled.history

    def _goes_on(self) -> bool:
        """False the first time. What follows waits for room in a full queue, since a refusal would
        throw away what is computed already."""
        has_begun, self._has_begun = self._has_begun, True
        return has_begun

    def _start_of(self, history: History) -> History:
        """What stands before the first hypotheses once the context has become a state."""
        return history if _is_bos_alone(history) else replace(history, ids=())

    async def _run_list(self, index: int, start: EngineState | None) -> _Result:
        """Score and rank the list `index`, in one request."""
        prompts = self._lists[index]
        sums = await self._logprobs(prompts, start)
        scored = [
            Scored(
                score=hypothesis.score or 0.0,
                scores=hypothesis.scores or {},
                lm_logprob=lm_logprob,
                num_tokens=len(prompt.ids) - prompt.first,
                num_words=len(hypothesis.text.split()),
                eos=self._body.eos,
            )
            for hypothesis, prompt, lm_logprob in zip(
                self._body.utterances[index].hypotheses, prompts, sums, strict=True
            )
        ]
        totals = []
        for place, hypothesis in enumerate(scored):
            try:
                totals.append(combine(hypothesis, self._combination))
            except ValueError as error:
                raise invalid(f"utterances.{index}.hypotheses.{place}", str(error)) from None
        return _Result(scored=scored, ranked=rank(totals))

    async def _logprobs(self, prompts: Sequence[Prompt], start: EngineState | None) -> list[float]:
        """ln P of each hypothesis; 0 for one without any token."""
        sums = [0.0] * len(prompts)
        filled = [index for index, prompt in enumerate(prompts) if len(prompt.ids) > prompt.first]
        if not filled:
            return sums
        request = EngineRequest(
            request_id=new_request_id(),
            prompts=tuple(prompts[index].ids for index in filled),
            start=start,
            prompt_logprobs=0,
            score_from=tuple(prompts[index].first for index in filled),
            priority=Priority.BULK,
        )
        collected = await collect(self._model.engine, request, waits=self._goes_on())
        self.usage.cached_tokens += collected.cached_tokens
        self.usage.tree_nodes += _count_nodes(request.prompts, len(prompts[0].before.ids))
        for index, output in zip(filled, collected.prompts, strict=True):
            assert output.logprobs is not None
            sums[index] = float(output.logprobs[prompts[index].first :].sum(dtype=float))
        return sums


def _is_bos_alone(history: History) -> bool:
    """Whether a state would save nothing: each list's tree holds begin-of-sequence once anyway."""
    return history.start is None and len(history.ids) == 1


def _build_prompts(before: History, texts: Sequence[str], *, eos: bool) -> list[Prompt]:
    return [build_prompt(before, text, eos=eos) for text in texts]


def _count_nodes(prompts: Sequence[tuple[int, ...]], num_shared: int) -> int:
    """Distinct non-empty prefixes of `prompts` beyond the `num_shared` tokens that begin all."""
    previous: tuple[int, ...] = ()
    count = 0
    for prompt in sorted(prompts):
        pairs = zip(previous, prompt, strict=False)
        count += len(prompt) - sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        previous = prompt
    return count - num_shared


async def _gather(coroutines: Sequence[Coroutine[Any, Any, _Result]]) -> list[_Result]:
    """All results; the first failure ends the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _describe(utterance: Utterance, result: _Result, top_n: int | None) -> dict[str, Any]:
    kept = utterance.model_dump(exclude_unset=True, exclude={"hypotheses"})
    return {**kept, "hypotheses": list(_describe_list(utterance, result, top_n))}


def _describe_list(
    utterance: Utterance, result: _Result, top_n: int | None
) -> Iterator[dict[str, Any]]:
    """The best hypotheses, each with the fields that it was sent with."""
    for place in result.ranked[:top_n]:
        scored = result.scored[place.index]
        yield {
            **utterance.hypotheses[place.index].model_dump(exclude_unset=True),
            "index": place.index,
            "lm_logprob": scored.lm_logprob,
            "num_tokens": scored.num_tokens,
            "num_words": scored.num_words,
            "total": place.total,
            "rank": place.rank,
            "posterior": place.posterior,
        }


def _echo(body: RescoreRequest) -> dict[str, Any]:
    """The settings that gave the totals."""
    names = ("lm_weight", "length_bonus", "weights", "normalize", "eos", "carry_context", "top_n")
    return {"bos": body.state is None, **{name: getattr(body, name) for name in names}}
