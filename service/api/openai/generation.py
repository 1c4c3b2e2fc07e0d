"""Running a generating request for either OpenAI endpoint, answered whole or as a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from service.api.client import new_request_id, off_loop, sealed_states
from service.api.openai.requests import GenerationRequest
from service.api.openai.responses import AnswerForm, Choice
from service.engine.hosts.async_engine import AsyncEngine
from service.engine.request import EngineRequest, Priority, PromptOutput, SamplingParams
from service.http.dependencies import AppContext, exit_stack
from service.http.errors import ApiError, as_api_error, check_count, impossible, invalid
from service.http.json_body import JSONBody
from service.http.sse import DONE, EventStream, event
from service.served_model import ServedModel
from service.text.generated_text import Continuation, TextRules
from service.text.history import History, Prompt
from service.text.stop_strings import StopStrings


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What one output of the engine changed: indices of prompts and of continuations."""

    prompts: tuple[int, ...]
    continuations: tuple[int, ...]


class Generation:
    """One request, run once.

    continuations: those of the first prompt, then those of the second, and so on.
    prompt_outputs: by prompt, as far as they have come.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        request: EngineRequest,
        prompts: Sequence[Prompt],
        rules: TextRules,
    ) -> None:
        """Without sampling in `request` each prompt has one continuation, empty at its limit."""
        self._engine = engine
        self._request = request
        self._per_prompt = request.sampling.n if request.sampling else 1
        self.continuations = [
            Continuation(rules, in_line=prompt.ends_in_line)
            for prompt in prompts
            for _ in range(self._per_prompt)
        ]
        self.prompt_outputs: dict[int, PromptOutput] = {}
        self.cached_tokens = 0

    def indices(self, prompt: int) -> range:
        """Which of the continuations are those of prompt number `prompt`."""
        return range(prompt * self._per_prompt, (prompt + 1) * self._per_prompt)

    @property
    def num_tokens(self) -> int:
        """Tokens generated, those of continuations that are not returned included."""
        return sum(continuation.num_tokens for continuation in self.continuations)

    async def run(self) -> AsyncGenerator[News]:
        """Until every continuation is finished. Closing it early aborts the request."""
        if self._request.sampling is None and self._request.prompt_logprobs is None:
            yield self._end()
            return
        outputs = self._engine.submit(self._request)
        async with aclosing(outputs):  # type: ignore[type-var]
            async for output in outputs:
                if output.error is not None:
                    raise impossible(output.error)
                self.cached_tokens = max(self.cached_tokens, output.cached_tokens)
                for prompt in output.prompts:
                    self.prompt_outputs[prompt.index] = prompt
                changed: dict[int, None] = {}
                for token in output.tokens:
                    index = token.prompt * self._per_prompt + token.sample
                    if self.continuations[index].push(token) and not output.finished:
                        self._engine.stop_sample(
                            self._request.request_id, token.prompt, token.sample
                        )
                    changed[index] = None
                prompts = tuple(prompt.index for prompt in output.prompts)
                if output.finished:
                    yield self._end(prompts)
                    return
                yield News(prompts=prompts, continuations=tuple(changed))

    async def run_to_end(self) -> None:
        async with aclosing(self.run()) as news:
            async for _ in news:
                pass

    def _end(self, prompts: tuple[int, ...] = ()) -> News:
        for continuation in self.continuations:
            if self._request.sampling is None:
                continuation.finish_reason = "length"
            elif continuation.finish_reason is None:
                raise self._missing()
        return News(prompts=prompts, continuations=tuple(range(len(self.continuations))))

    def _missing(self) -> ApiError | RuntimeError:
        """What the end of a request means for a continuation that has none.

        A search with few tokens to choose from may find fewer continuations than were asked for.
        """
        sampling = self._request.sampling
        if sampling is None or sampling.beam_width is None:
            return RuntimeError("the engine ended the request before all of its continuations")
        return impossible(f"{sampling.n} is more than the texts that can be generated", param="n")


logger = logging.getLogger(__name__)

Json = dict[str, Any]
# A listed token of an answer costs about as much time as this many characters of a text.
_CHARACTERS_PER_LISTED_TOKEN = 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """A checked request, ready to run.

    sampling: None where nothing is to be generated.
    prompt_top: alternatives to report with each prompt token, None for no scores of prompts.
    after: from the history after a prompt and the text of its continuation to the one that
        `return_state` is about.
    num_bos: 1 where each prompt begins with a begin-of-sequence that the request did not send.
    """

    context: AppContext
    model: ServedModel
    body: GenerationRequest
    form: AnswerForm
    prompts: Sequence[Prompt]
    num_bos: int
    sampling: SamplingParams | None
    prompt_top: int | None
    after: Callable[[History, str], History]

    @property
    def num_prompt_tokens(self) -> int:
        return sum(len(prompt.ids) - self.num_bos for prompt in self.prompts)

    def usage(self, generation: Generation) -> Json:
        """Counts this request's tokens, and tells them in OpenAI's form."""
        prompt, completion = self.num_prompt_tokens, generation.num_tokens
        cached = min(generation.cached_tokens, prompt)
        self.context.metrics.count_tokens(
            self.model.name, prompt=prompt, completion=completion, cached=cached
        )
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


def check_fields(body: GenerationRequest) -> None:
    """Refuse fields of `body` that contradict each other."""
    if body.best_of is not None:
        if body.best_of < body.n:
            raise invalid("best_of", f"{body.best_of} is below n, {body.n}")
        if body.stream and body.best_of > body.n and not body.use_beam_search:
            raise invalid("best_of", "cannot be above n in a stream: the best are known at its end")
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options", "is allowed only with stream")
    if body.stream and body.prompt_logprobs is not None:
        raise invalid("prompt_logprobs", "is not available in a stream")


def check_work(
    context: AppContext,
    body: GenerationRequest,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int,
    params: tuple[str, str],
) -> None:
    """Refuse more tokens than one request may read or generate.

    params: the request's names for what is read, and for how much is generated.
    """
    settings = context.settings
    num_read = sum(len(prompt.ids) for prompt in prompts)
    check_count(params[0], num_read, settings.max_prompt_tokens, "tokens in all")
    num_new = len(prompts) * body.num_candidates * max(1, max_tokens)
    things = "tokens in all (tokens of each choice x choices x prompts)"
    check_count(params[1], num_new, settings.max_new_tokens, things)


def check_listed(context: AppContext, job: Job) -> None:
    """Refuse an answer that would list more alternatives than one may."""
    count = 0
    if job.prompt_top is not None:
        count += job.num_prompt_tokens * job.prompt_top
    if job.sampling is not None:
        new = len(job.prompts) * job.sampling.n * job.sampling.max_tokens
        count += new * (job.sampling.logprobs or 0)
    check_count("logprobs", count, context.settings.max_logprobs, "alternatives in all")


async def run(request: Request, job: Job) -> Response:
    """The answer to a job. The client's departure ends it."""
    check_listed(job.context, job)
    generation = _start(job)
    if job.body.stream:
        return await _open_stream(request, job, generation)
    await generation.run_to_end()
    choices = await _choices(job, generation)
    num_listed = generation.num_tokens * (job.form.logprobs is not None)
    num_listed += job.num_prompt_tokens * (job.prompt_top is not None)
    answer = await off_loop(
        num_listed * _CHARACTERS_PER_LISTED_TOKEN,
        job.form.answer,
        choices,
        job.usage(generation),
    )
    return JSONBody(answer)


def _start(job: Job) -> Generation:
    body, has_scores = job.body, job.prompt_top is not None
    rules = TextRules(
        tokenizer=job.model.tokenizer,
        stops=StopStrings(body.stops) if body.stops else None,
        min_tokens=job.sampling.min_tokens if job.sampling is not None else 0,
        list_tokens=job.form.logprobs is not None,
    )
    work = EngineRequest(
        request_id=new_request_id(),
        prompts=tuple(prompt.ids for prompt in job.prompts),
        start=job.prompts[0].before.start,
        prompt_logprobs=job.prompt_top,
        score_from=tuple(prompt.first for prompt in job.prompts) if has_scores else (),
        sampling=job.sampling,
        keep_states=body.return_state,
        priority=Priority.BULK if has_scores else Priority.INTERACTIVE,
    )
    return Generation(job.model.engine, work, job.prompts, rules)


async def _choices(job: Job, generation: Generation) -> list[Choice]:
    """What is returned of what was generated, in the order of prompts and then of samples."""
    chosen: list[tuple[int, Continuation]] = []
    for number in range(len(job.prompts)):
        candidates = [generation.continuations[index] for index in generation.indices(number)]
        if len(candidates) > job.body.n:
            # Sorting keeps equals in the order of their samples.
            candidates = sorted(candidates, key=lambda candidate: -candidate.mean_logprob)
        chosen += [(number, candidate) for candidate in candidates[: job.body.n]]
    taken = [continuation.take() for _, continuation in chosen]
    states: Sequence[str | None] = [None] * len(chosen)
    if job.body.return_state:
        ends = [(number, text) for (number, _), (text, _) in zip(chosen, taken, strict=True)]
        states = await _states(job, ends)
    choices = []
    for index, (number, continuation) in enumerate(chosen):
        assert continuation.finish_reason is not None
        choices.append(
            Choice(
                index=index,
                prompt=job.prompts[number],
                output=generation.prompt_outputs.get(number),
                text=taken[index][0],
                tokens=taken[index][1],
                finish_reason=continuation.finish_reason,
                state=states[index],
            )
        )
    return choices


async def _states(job: Job, ends: Sequence[tuple[int, str]]) -> list[str]:
    """The sealed state after each (number of a prompt, text of a continuation)."""
    histories = [job.after(job.prompts[number].after, text) for number, text in ends]
    has_computed = job.sampling is not None or job.prompt_top is not None
    return await sealed_states(
        job.context, job.model, histories, [None] * len(histories), waits=has_computed
    )


async def _open_stream(request: Request, job: Job, generation: Generation) -> Response:
    """A stream, once the engine has begun: what it refuses is still answered by a status."""
    heartbeat_s = job.context.settings.heartbeat_s
    news = generation.run()
    first = asyncio.create_task(_next(news))

    async def abandon() -> None:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await news.aclose()

    exit_stack(request.scope).push_async_callback(abandon)
    await asyncio.wait({first}, timeout=heartbeat_s)
    if first.done():
        first.result()
    return EventStream(_events(job, generation, first, news), heartbeat_s=heartbeat_s)


async def _next(news: AsyncGenerator[News]) -> News:
    return await anext(news)


async def _events(
    job: Job, generation: Generation, first: asyncio.Task[News], news: AsyncGenerator[News]
) -> AsyncGenerator[bytes]:
    """Every event of a stream; a failure is one of them."""
    try:
        async for chunks in _chunks(job, generation, first, news):
            yield chunks
        usage = job.usage(generation)
        if job.body.include_usage:
            yield job.form.usage_chunk(usage)
    except Exception as error:
        refusal = as_api_error(error)
        if refusal.status_code == 500:
            logger.exception("a stream failed")
        yield event(refusal.body)
    yield DONE


async def _chunks(
    job: Job, generation: Generation, first: asyncio.Task[News], news: AsyncGenerator[News]
) -> AsyncGenerator[bytes]:
    """The choices' chunks, those that came together in one piece."""
    stream = _ChoiceStream(job, generation)
    if job.prompt_top is None:
        yield stream.open(range(len(job.prompts)))
    if chunks := stream.advance(await first):
        yield chunks
    async for item in news:
        if chunks := stream.advance(item):
            yield chunks
    if job.body.return_state:
        yield stream.close(await _states(job, stream.ends()))


class _ChoiceStream:
    """Which choices of a stream have begun and ended, and what each has sent."""

    def __init__(self, job: Job, generation: Generation) -> None:
        self._job, self._generation = job, generation
        self._is_open = [False] * len(generation.continuations)
        self._is_closed = [False] * len(generation.continuations)
        self._texts: list[list[str]] = [[] for _ in generation.continuations]

    def open(self, prompts: Sequence[int]) -> bytes:
        """The first chunks of the choices of these prompts."""
        chunks = []
        for number in prompts:
            output = self._generation.prompt_outputs.get(number)
            for index in self._generation.indices(number):
                self._is_open[index] = True
                chunks.append(self._job.form.opening(index, self._job.prompts[number], output))
        return b"".join(chunks)

    def advance(self, news: News) -> bytes:
        """The chunks that `news` gives rise to."""
        keep_open = self._job.body.return_state
        chunks = []
        if self._job.prompt_top is not None and news.prompts:
            chunks.append(self.open(news.prompts))
        for index in news.continuations:
            # A choice begins with its prompt, which may be under way still.
            if self._is_closed[index] or not self._is_open[index]:
                continue
            continuation = self._generation.continuations[index]
            text, tokens = continuation.take()
            finish_reason = None if keep_open else continuation.finish_reason
            if keep_open:
                self._texts[index].append(text)
            self._is_closed[index] = finish_reason is not None
            if text or tokens or finish_reason is not None:
                chunks.append(self._job.form.chunk(index, text, tokens, finish_reason))
        return b"".join(chunks)

    def ends(self) -> list[tuple[int, str]]:
        """Per choice the number of its prompt and its whole text."""
        return [
            (number, "".join(self._texts[index]))
            for number in range(len(self._job.prompts))
            for index in self._generation.indices(number)
        ]

    def close(self, states: Sequence[str]) -> bytes:
        """The last chunks, where they wait for the states."""
        form, continuations = self._job.form, self._generation.continuations
        return b"".join(
            form.chunk(index, "", (), continuation.finish_reason, states[index])
            for index, continuation in enumerate(continuations)
        )
