"""The only way from a route to an engine: one `ModelClient` for each request."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

from fastapi import Request

from models.tokenizer import Tokenizer
from service.admission import Admission, Ticket
from service.engine.hosts.async_engine import QueueFullError
from service.engine.request import EngineRequest, NextToken, Priority, PromptOutput, RequestOutput
from service.engine_state import EngineState
from service.http.call import Call, call_of
from service.http.dependencies import AppContext, context_of, resolve_model
from service.http.errors import impossible, invalid, too_many
from service.served_model import ServedModel
from service.settings import Settings
from service.state_token import InvalidStateError, State
from service.text.history import History, Prompt, TooManyTokensError, begin, build_prompts

P = ParamSpec("P")
T = TypeVar("T")

# Segmenting this many characters takes about 10 ms; more would hold up every other request.
_LONG_TEXT = 50_000
# Who has work done already asks again this often, and gets room before newcomers, who are told to
# come back after a second.
_ROOM_POLL_S = 0.02


async def off_loop(size: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`call`, in a thread of its own if `size` (characters or tokens) makes it slow."""
    if size > _LONG_TEXT:
        return await asyncio.to_thread(call, *args, **kwargs)
    return call(*args, **kwargs)


@dataclass(frozen=True, kw_only=True)
class Computed:
    """What the engine gave for prompts, in their order; cached_tokens: those it knew already."""

    prompts: list[PromptOutput]
    cached_tokens: int


def new_request_id() -> str:
    """An id for the engine. Not the client's x-request-id, which need not be unique."""
    return secrets.token_hex(12)


class ModelClient:
    """A request's model: its histories, its work in the engine, its states, its usage.

    The first work asked for may be refused because the engine's queue is full. Work that follows
    waits for room, since a refusal would throw away what is computed already.

    priority: of all work; routes set it once they know how much there is.
    """

    def __init__(self, context: AppContext, model: ServedModel, call: Call) -> None:
        self.context, self.model, self.call = context, model, call
        call.model = model.name
        self.priority = Priority.INTERACTIVE
        self._has_begun = False

    @classmethod
    async def connect(cls, request: Request, name: str | None) -> ModelClient:
        """A client of the model called `name` (None: the default one).

        The model stays in memory until the answer to `request` has ended. An unknown name is a 404.
        """
        model = await resolve_model(request, name)
        return cls(context_of(request), model, call_of(request.scope))

    @property
    def settings(self) -> Settings:
        return self.context.settings

    @property
    def tokenizer(self) -> Tokenizer:
        return self.model.tokenizer

    # Histories

    async def history(
        self,
        *,
        state: str | None,
        bos: bool,
        text: str = "",
        param: str = "context",
        state_param: str = "state",
    ) -> History:
        """Where a request's sequences begin: a sealed state or begin-of-sequence, then `text`.

        With a state no begin-of-sequence is put: the state has its own beginning. `param`,
        `state_param`: the request's names for `text` and `state`. An ApiError refuses a state
        together with a text, a state that is not one of this model, and more tokens than a request
        may have.
        """
        if state is not None and text:
            raise invalid(param, f"a state takes the place of {param}; send one of the two")
        if state is None:
            start = begin(self.tokenizer, bos=bos)
        else:
            start = self.open_state(state, state_param)
        limit = self.settings.max_prompt_tokens
        try:
            return await off_loop(len(text), start.with_text, text, max_tokens=limit)
        except TooManyTokensError as error:
            raise too_many(param, error.count, limit, "tokens or more") from None

    async def prompts(
        self,
        before: History | Sequence[History],
        sources: Sequence[str | Sequence[int]],
        *,
        eos: bool,
        param: str,
    ) -> list[Prompt]:
        """Each of `sources` behind `before`, or behind its own one; `param`: the request's name.

        An ApiError refuses more tokens, beyond those of `before`, than a request may have.
        """
        befores = [before] * len(sources) if isinstance(before, History) else before
        limit = self.settings.max_prompt_tokens
        size = sum(map(len, sources))
        try:
            return await off_loop(size, build_prompts, befores, sources, eos=eos, max_tokens=limit)
        except TooManyTokensError as error:
            raise too_many(param, error.count, limit, "tokens or more") from None

    async def as_state(self, history: History) -> tuple[History, int]:
        """`history` with its tokens in its start state, and how many of them the cache knew.

        Sequences that begin there are, to the last bit, those that were sent whole.
        """
        if not history.ids:
            return history, 0
        computed = await self.compute(
            [history.ids], start=history.start, state_at=[len(history.ids)]
        )
        state = computed.prompts[0].state
        assert state is not None
        return replace(history, start=state, ids=()), computed.cached_tokens

    def open_state(self, token: str, param: str = "state") -> History:
        """The history behind a sealed state; a 400 `invalid_state` for any other string.

        param: the request's name for it.
        """
        model = self.model
        try:
            state = self.context.states.open(
                token,
                digest=model.digest,
                state_size=model.engine.info.state_size,
                owner=self._owner,
            )
        except InvalidStateError as error:
            raise invalid(
                param, f"not a state of this model: {error}", code="invalid_state"
            ) from None
        return History(
            tokenizer=model.tokenizer,
            start=state.engine_state,
            pending=state.pending,
            continuation=state.continuation,
        )

    async def seal_states(
        self, histories: Sequence[History], computed: Sequence[EngineState | None] = ()
    ) -> list[str]:
        """Sealed states of histories with one start.

        computed: the engine's state after each history's tokens, none at all where none is known.
        None where a prompt's own request cannot give it (after sampling, or after token ids that
        are not the canonical segmentation of their text): it is computed here, and the state cache
        makes it a few steps.
        """
        known = list(computed) or [None] * len(histories)
        missing = [k for k, history in enumerate(histories) if history.ids and known[k] is None]
        if missing:
            rest = await self.compute(
                [histories[k].ids for k in missing],
                start=histories[missing[0]].start,
                state_at=[len(histories[k].ids) for k in missing],
            )
            for k, output in zip(missing, rest.prompts, strict=True):
                known[k] = output.state
        return list(map(self._seal, histories, known))

    def _seal(self, history: History, computed: EngineState | None) -> str:
        state = State(
            engine_state=computed if history.ids else history.start,
            pending=history.pending,
            continuation=history.continuation,
        )
        model = self.model
        return self.context.states.seal(
            state,
            digest=model.digest,
            state_size=model.engine.info.state_size,
            owner=self._owner,
        )

    @property
    def _owner(self) -> str:
        """Who alone may resume a state that is sealed now; empty for everybody."""
        return self.call.key_name if self.settings.bind_states else ""

    # Work

    async def compute(
        self,
        prompts: Sequence[tuple[int, ...]],
        *,
        start: EngineState | None,
        prompt_logprobs: int | None = None,
        score_from: Sequence[int] = (),
        next_token: NextToken | None = None,
        state_at: Sequence[int | None] = (),
    ) -> Computed:
        """What `EngineRequest` says of these fields, for each of `prompts`.

        Leaving early ends the work. An ApiError tells what cannot be computed.
        """
        request = EngineRequest(
            request_id=new_request_id(),
            prompts=tuple(prompts),
            start=start,
            prompt_logprobs=prompt_logprobs,
            score_from=tuple(score_from),
            next_token=next_token,
            state_at=tuple(state_at),
            priority=self.priority,
        )
        outputs: dict[int, PromptOutput] = {}
        cached_tokens = 0
        news = self.submit(request)
        async with aclosing(news):  # type: ignore[type-var]
            async for output in news:
                outputs.update((prompt.index, prompt) for prompt in output.prompts)
                cached_tokens = max(cached_tokens, output.cached_tokens)
        return Computed(
            prompts=[outputs[index] for index in range(len(prompts))], cached_tokens=cached_tokens
        )

    async def submit(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        """The news of a request, up to its last. Closing the iteration early ends the work.

        Raises ApiError for what cannot be computed; QueueFullError, before any news, where this is
        the first work that the client asks for and the queue is full.
        """
        waits, self._has_begun = self._has_begun, True
        request = replace(request, cache_scope=self.call.cache_scope, arrived=time.monotonic())
        self.call.begin(request, time.perf_counter())
        admission = self.context.admission(self.model.name)
        admission.note_fed(self.model.engine.stats().counters.get("step_rows", 0))
        with admission.admit(request, waits=waits) as ticket:
            while True:
                outputs = self.model.engine.submit(request)
                try:
                    async with aclosing(outputs):  # type: ignore[type-var]
                        async for output in outputs:
                            self._note(request, output, admission, ticket)
                            if output.error is not None:
                                raise impossible(output.error)
                            yield output
                            if output.finished:
                                return
                    return
                except QueueFullError as error:
                    if not waits:
                        retry_after = admission.retry_after(request.priority)
                        raise QueueFullError(
                            str(error), max(error.retry_after, retry_after)
                        ) from None
                await asyncio.sleep(_ROOM_POLL_S)

    def _note(
        self, request: EngineRequest, output: RequestOutput, admission: Admission, ticket: Ticket
    ) -> None:
        """Count what was done: for the log, and for those who want to be let in."""
        self.call.note(output, time.perf_counter())
        # What prompts share is a part of each, but no more work than the ticket says.
        read = sum(len(request.prompts[prompt.index]) for prompt in output.prompts)
        if done := len(output.tokens) + min(read, ticket.num_left):
            admission.done(ticket, done)
        ticket.num_generated += len(output.tokens)
        params = request.sampling
        if output.finished and params is not None and params.beam_width is None:
            admission.ended(ticket.num_generated, len(request.prompts) * params.n)

    def stop_sample(self, request_id: str, prompt: int, index: int) -> None:
        """End one continuation of a request early: its text met a stop string."""
        self.call.finish_reasons.add("stop")
        self.model.engine.stop_sample(request_id, prompt, index)

    def usage(self, prompt_tokens: int, new_tokens: int = 0, *, cached: int) -> dict[str, int]:
        """A `Usage`, added to the service's counters.

        prompt_tokens: without a begin-of-sequence that the service put; new_tokens: generated ones;
        cached: those of the prompt that the state cache knew.
        """
        cached = min(cached, prompt_tokens)
        self.call.prompt_tokens += prompt_tokens
        self.call.new_tokens += new_tokens
        self.call.cached_tokens += cached
        self.context.metrics.count_tokens(
            self.model.name, prompt=prompt_tokens, completion=new_tokens, cached=cached
        )
        return {
            "prompt_tokens": prompt_tokens,
            "cached_tokens": cached,
            "total_tokens": prompt_tokens + new_tokens,
        }


async def gather(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in their order; the first failure ends the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def check_begun(history: History) -> None:
    """Refuse a state in front of which nothing stands: what follows it has no probability."""
    if history.start is None and not history.ids:
        raise invalid(
            "state", "is of a sequence without begin-of-sequence that has no whole token yet"
        )
