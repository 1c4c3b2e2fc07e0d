"""A generating request answered as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from fastapi import Request, Response

from service.api.openai.answer_forms import Piece
from service.api.openai.generation import Generation, News
from service.api.openai.jobs import Job, guided_choices, start, states_after
from service.http.call import Call
from service.http.dependencies import exit_stack
from service.http.errors import ApiError, as_api_error
from service.http.sse import DONE, EventStream, event
from service.text.generated_text import Continuation, FinishReason

logger = logging.getLogger(__name__)

Json = dict[str, Any]

Events = Callable[
    [Job, Generation, asyncio.Task[News], AsyncGenerator[News]], AsyncGenerator[bytes]
]
"""From a running job, its first news and those that follow, to the bytes of a stream."""


async def answer_in_parts(request: Request, job: Job, events: Events | None = None) -> Response:
    """A stream, once the engine has begun: what it refuses is still answered by a status.

    events: those of the stream, where they are not those of completions.
    """
    generation = start(job)
    heartbeat_s = job.client.settings.heartbeat_s
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
    return EventStream((events or _events)(job, generation, first, news), heartbeat_s=heartbeat_s)


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
        log_failure(job.client.call, refusal)
        yield event(refusal.body)
    yield DONE


def log_failure(call: Call, refusal: ApiError) -> None:
    """To be called where a stream's failure is caught: what nobody foresaw is in the log."""
    call.error = refusal.code
    if refusal.status_code == 500:
        logger.exception("a stream failed")


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
    if job.ends_late:
        yield stream.close(
            await states_after(job, stream.ends()) if job.body.return_state else None,
            await guided_choices(job),
        )


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
        keep_open = self._job.ends_late
        chunks = []
        if self._job.prompt_top is not None and news.prompts:
            chunks.append(self.open(news.prompts))
        for index in news.continuations:
            # A choice begins with its prompt, which may be under way still.
            if self._is_closed[index] or not self._is_open[index]:
                continue
            continuation = self._generation.continuations[index]
            finish_reason = None if keep_open else continuation.finish_reason
            self._is_closed[index] = finish_reason is not None
            chunks += self._grown(index, continuation, finish_reason)
        return b"".join(chunks)

    def _grown(
        self, index: int, continuation: Continuation, finish_reason: FinishReason | None
    ) -> list[bytes]:
        """The chunks of what a choice has grown by: one for each token's text.

        Where tokens are listed, those that came together stand in one.
        """
        form, kept = self._job.form, self._texts[index]
        stop_reason = continuation.stop_reason
        if form.lists_tokens:
            text, tokens = continuation.take()
            kept.append(text)
            if text or tokens or finish_reason is not None:
                return [form.chunk(Piece(index, text, tokens, finish_reason, stop_reason))]
            return []
        pieces = continuation.take_pieces()
        kept += pieces
        last = pieces.pop() if finish_reason is not None and pieces else ""
        chunks = [form.chunk(Piece(index, text)) for text in pieces]
        if finish_reason is not None:
            chunks.append(form.chunk(Piece(index, last, (), finish_reason, stop_reason)))
        return chunks

    def ends(self) -> list[tuple[int, str]]:
        """Per choice the number of its prompt and its whole text."""
        return [
            (number, "".join(self._texts[index]))
            for number in range(len(self._job.prompts))
            for index in self._generation.indices(number)
        ]

    def close(self, states: Sequence[str] | None, guided: Sequence[Sequence[Json] | None]) -> bytes:
        """The last chunks, where they wait for what is known only at the end.

        states: by choice; guided: by prompt, see `guided_choices`.
        """
        form, generation = self._job.form, self._generation
        chunks = []
        for number, listed in enumerate(guided):
            for index in generation.indices(number):
                state = states[index] if states is not None else None
                ended = generation.continuations[index]
                end = (ended.finish_reason, ended.stop_reason)
                chunks.append(form.chunk(Piece(index, "", (), *end, state, listed)))
        return b"".join(chunks)
