"""`POST /v1/rescore`: N-best lists in, re-ranked N-best lists out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from service.api.client import ModelClient, check_begun, gather
from service.api.rescore_schemas import Hypothesis, RescoreRequest, RescoreResponse, Utterance
from service.api.schemas import error_responses
from service.engine.request import Priority, PromptOutput
from service.engine_state import EngineState
from service.http.errors import check_count, invalid
from service.http.json_body import JSONBody, StrictRoute
from service.text.history import History, Prompt
from service.text.rescoring import (
    Combination,
    Ranked,
    Scored,
    check_names,
    combine,
    hot_word_score,
    mixed_logprob,
    rank,
)
from service.text.score_figures import describe_score

router = APIRouter(route_class=StrictRoute)

# Lists of one call in the engine at a time: enough to fill its batches, and not its queue.
_LISTS_IN_FLIGHT = 16

# Between an utterance and the next, as between the lines of the running text in training.
_UTTERANCE_END = "\n"

_ADDED = frozenset(
    {
        "index",
        "lm_logprob",
        "mixed_logprob",
        "hot_words",
        "num_tokens",
        "num_words",
        "total",
        "rank",
        "posterior",
    }
)


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
async def rescore(request: Request, body: Annotated[RescoreRequest, Body()]) -> Response:
    client = await ModelClient.connect(request, body.model)
    client.priority = Priority.BULK
    _check(body, client)
    history = await client.history(state=body.state, bos=True, text=body.context)
    check_begun(history)
    rescorer = _Rescorer(client, body)
    await rescorer.prepare(history)
    results = await rescorer.run(history)
    return JSONBody(
        {
            "object": "rescore",
            "model": body.model,
            "utterances": [
                _describe(utterance, result, body)
                for utterance, result in zip(body.utterances, results, strict=True)
            ],
            **_echo(body),
            "usage": rescorer.usage(),
        }
    )


def _check(body: RescoreRequest, client: ModelClient) -> None:
    """All that can be refused without segmenting a text."""
    settings, utterances = client.settings, body.utterances
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
        _check_word_scores(place, hypothesis, body)
        for name in hypothesis.model_extra or ():
            if name in _ADDED:
                raise invalid(f"{place}.{name}", "is a field that the answer adds: rename it")


def _check_word_scores(place: str, hypothesis: Hypothesis, body: RescoreRequest) -> None:
    """Those of the mixture are there, one for each word and for the end, if that is scored."""
    if body.mixture is None:
        return
    name = body.mixture.with_
    own = (hypothesis.word_scores or {}).get(name)
    if own is None:
        raise invalid(
            f"{place}.word_scores", f"the word scores {name!r} of the mixture are missing"
        )
    expected = len(hypothesis.text.split()) + body.eos
    if len(own) != expected:
        end = " and one for the end" if body.eos else ""
        raise invalid(
            f"{place}.word_scores.{name}",
            f"has {len(own)} scores, not {expected}: one for each word{end}",
        )


class _Rescorer:
    """The work of one request: first all that can be refused, then all that is computed."""

    def __init__(self, client: ModelClient, body: RescoreRequest) -> None:
        self._client, self._body = client, body
        self._combination = Combination(
            lm_weight=body.lm_weight,
            length_bonus=body.length_bonus,
            weights=body.weights,
            normalize=body.normalize,
        )
        self._lists: list[list[Prompt]] = []  # behind what `_start_of` gives
        # Counted while the work is done; begin-of-sequence is not among the prompts' tokens.
        self._prompt_tokens = self._cached_tokens = self._tree_nodes = 0

    def usage(self) -> dict[str, int]:
        """A `RescoreUsage`, once `run` has come to its end."""
        usage = self._client.usage(self._prompt_tokens, cached=self._cached_tokens)
        return {**usage, "tree_nodes": self._tree_nodes}

    async def prepare(self, history: History) -> None:
        """Segment every hypothesis; refuse more tokens of work than a request may have."""
        client, before = self._client, self._start_of(history)
        num_tokens = len(history.ids)
        for utterance in self._body.utterances:
            texts = [hypothesis.text for hypothesis in utterance.hypotheses]
            prompts = await client.prompts(before, texts, eos=self._body.eos, param="utterances")
            self._lists.append(prompts)
            lengths = [len(prompt.ids) for prompt in prompts]
            num_tokens += sum(lengths)
            self._prompt_tokens += sum(lengths) - len(before.ids) * len(prompts)
            if self._body.carry_context and texts:
                num_tokens += max(lengths)
                before = History(tokenizer=client.tokenizer)
            limit = client.settings.max_prompt_tokens
            check_count("utterances", num_tokens, limit, "tokens")
            await asyncio.sleep(0)  # let other requests have a turn

    async def run(self, history: History) -> list[_Result]:
        """Score and rank every list."""
        if not _is_bos_alone(history):
            history = await self._as_state(history)
        if self._body.carry_context:
            return await self._run_in_turn(history)
        slots = asyncio.Semaphore(_LISTS_IN_FLIGHT)

        async def run_one(index: int) -> _Result:
            async with slots:
                return await self._run_list(index, history.start)

        return await gather([run_one(index) for index in range(len(self._lists))])

    async def _run_in_turn(self, history: History) -> list[_Result]:
        """Each list behind the best hypotheses of those before it."""
        results: list[_Result] = []
        has_grown = False
        for index, utterance in enumerate(self._body.utterances):
            if has_grown and utterance.hypotheses:
                history, has_grown = await self._as_state(history), False
            result = await self._run_list(index, history.start)
            results.append(result)
            if result.ranked:
                best = utterance.hypotheses[result.ranked[0].index].text
                history, has_grown = history.with_text(best + _UTTERANCE_END), True
        return results

    async def _as_state(self, history: History) -> History:
        has_bos = history.start is None
        self._prompt_tokens += max(0, len(history.ids) - has_bos)
        history, num_cached = await self._client.as_state(history)
        self._cached_tokens += num_cached
        return history

    def _start_of(self, history: History) -> History:
        """What stands before the first hypotheses once the context has become a state."""
        return history if _is_bos_alone(history) else replace(history, ids=())

    async def _run_list(self, index: int, start: EngineState | None) -> _Result:
        """Score and rank the list `index`, in one request."""
        prompts = self._lists[index]
        outputs = await self._scores(prompts, start)
        scored = [
            self._scored(*own)
            for own in zip(self._body.utterances[index].hypotheses, prompts, outputs, strict=True)
        ]
        totals = []
        for place, hypothesis in enumerate(scored):
            try:
                totals.append(combine(hypothesis, self._combination))
            except ValueError as error:
                raise invalid(f"utterances.{index}.hypotheses.{place}", str(error)) from None
        return _Result(scored=scored, ranked=rank(totals))

    def _scored(
        self, hypothesis: Hypothesis, prompt: Prompt, output: PromptOutput | None
    ) -> Scored:
        body, mixed = self._body, None
        figures = describe_score(
            prompt, output, eos=body.eos, detail="words" if body.mixture else "totals"
        )
        if body.mixture is not None:
            assert hypothesis.word_scores is not None
            own = [word["logprob"] for word in figures["words"]]
            other = hypothesis.word_scores[body.mixture.with_]
            mixed = mixed_logprob(own, other, body.mixture.share)
        return Scored(
            score=hypothesis.score or 0.0,
            scores=hypothesis.scores or {},
            lm_logprob=figures["logprob"],
            num_tokens=figures["num_tokens"],
            num_words=figures["num_words"],
            eos=body.eos,
            mixed_logprob=mixed,
            hot_words=hot_word_score(hypothesis.text, body.hot_words),
        )

    async def _scores(
        self, prompts: Sequence[Prompt], start: EngineState | None
    ) -> list[PromptOutput | None]:
        """The scores of each hypothesis' tokens; None for one without any."""
        outputs: list[PromptOutput | None] = [None] * len(prompts)
        filled = [index for index, prompt in enumerate(prompts) if len(prompt.ids) > prompt.first]
        if not filled:
            return outputs
        texts = [prompts[index].ids for index in filled]
        computed = await self._client.compute(
            texts,
            start=start,
            prompt_logprobs=0,
            score_from=[prompts[index].first for index in filled],
        )
        self._cached_tokens += computed.cached_tokens
        self._tree_nodes += _count_nodes(texts, len(prompts[0].before.ids))
        for index, output in zip(filled, computed.prompts, strict=True):
            outputs[index] = output
        return outputs


def _is_bos_alone(history: History) -> bool:
    """Whether a state would save nothing: each list's tree holds begin-of-sequence once anyway."""
    return history.start is None and len(history.ids) == 1


def _count_nodes(prompts: Sequence[tuple[int, ...]], num_shared: int) -> int:
    """Distinct non-empty prefixes of `prompts` beyond the `num_shared` tokens that begin all."""
    previous: tuple[int, ...] = ()
    count = 0
    for prompt in sorted(prompts):
        pairs = zip(previous, prompt, strict=False)
        count += len(prompt) - sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        previous = prompt
    return count - num_shared


def _describe(utterance: Utterance, result: _Result, body: RescoreRequest) -> dict[str, Any]:
    kept = utterance.model_dump(exclude_unset=True, exclude={"hypotheses"})
    return {**kept, "hypotheses": list(_describe_list(utterance, result, body))}


def _describe_list(
    utterance: Utterance, result: _Result, body: RescoreRequest
) -> Iterator[dict[str, Any]]:
    """The best hypotheses, each with the fields that it was sent with."""
    for place in result.ranked[: body.top_n]:
        scored = result.scored[place.index]
        yield {
            **utterance.hypotheses[place.index].model_dump(exclude_unset=True),
            "index": place.index,
            "lm_logprob": scored.lm_logprob,
            **_describe_terms(scored, body),
            "num_tokens": scored.num_tokens,
            "num_words": scored.num_words,
            "total": place.total,
            "rank": place.rank,
            "posterior": place.posterior,
        }


def _describe_terms(scored: Scored, body: RescoreRequest) -> dict[str, float]:
    """What only some requests have in their totals."""
    terms = {} if scored.mixed_logprob is None else {"mixed_logprob": scored.mixed_logprob}
    return {**terms, "hot_words": scored.hot_words} if body.hot_words else terms


def _echo(body: RescoreRequest) -> dict[str, Any]:
    """The settings that gave the totals."""
    names = (
        "lm_weight", "length_bonus", "weights", "hot_words", "normalize", "eos", "carry_context",
        "top_n",
    )  # fmt: skip
    mixture = None if body.mixture is None else body.mixture.model_dump(by_alias=True)
    echoed = {name: getattr(body, name) for name in names}
    return {"bos": body.state is None, "mixture": mixture, **echoed}
