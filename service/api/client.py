"""Between a route and the engine: histories from requests, answers from outputs, sealed states."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from service.engine.hosts.async_engine import AsyncEngine, QueueFullError
from service.engine.request import EngineRequest, Priority, PromptOutput
from service.engine_state import EngineState
from service.http.dependencies import AppContext
from service.http.errors import check_count, impossible, invalid
from service.served_model import ServedModel
from service.state_token import InvalidStateError, State
from service.text.history import History, begin

P = ParamSpec("P")
T = TypeVar("T")

# Segmenting this many characters takes about 10 ms; more would hold up every other request.
_LONG_TEXT = 50_000
# Newcomers are told to come back after a second: who has work done already gets room before them.
_ROOM_POLL_S = 0.02


def new_request_id() -> str:
    """An id for the engine. Not the client's x-request-id, which need not be unique."""
    return secrets.token_hex(12)


async def off_loop(size: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`call`, in a thread of its own if `size` (characters or tokens) makes it slow."""
    if size > _LONG_TEXT:
        return await asyncio.to_thread(call, *args, **kwargs)
    return call(*args, **kwargs)


async def read_history(
    context: AppContext,
    model: ServedModel,
    *,
    state: str | None,
    bos: bool,
    text: str = "",
    param: str = "context",
) -> History:
    """Where a request's sequences begin: a sealed state or begin-of-sequence, then `text`.

    With a state no begin-of-sequence is put: the state has its own beginning. `param`: the
    request's name for `text`.
    """
    if state is not None and text:
        raise invalid(param, f"a state takes the place of {param}; send one of the two")
    start = begin(model.tokenizer, bos=bos) if state is None else open_state(context, model, state)
    history = await off_loop(len(text), start.with_text, text)
    check_count(param, len(history.ids), context.settings.max_prompt_tokens, "tokens")
    return history


def open_state(context: AppContext, model: ServedModel, token: str) -> History:
    """The history behind a sealed state; a 400 `invalid_state` for any other string."""
    try:
        state = context.states.open(
            token, digest=model.digest, state_size=model.engine.info.state_size
        )
    except InvalidStateError as error:
        raise invalid(
            "state", f"not a state of this model: {error}", code="invalid_state"
        ) from None
    return History(
        tokenizer=model.tokenizer,
        start=state.engine_state,
        pending=state.pending,
        continuation=state.continuation,
    )


def seal_state(
    context: AppContext, model: ServedModel, history: History, computed: EngineState | None
) -> str:
    """A token for `history`; `computed`: the engine's state after ``history.ids``.

    Where there are no such ids, it is the history's own start and `computed` is not looked at.
    """
    state = State(
        engine_state=computed if history.ids else history.start,
        pending=history.pending,
        continuation=history.continuation,
    )
    return context.states.seal(state, digest=model.digest, state_size=model.engine.info.state_size)


async def sealed_states(
    context: AppContext,
    model: ServedModel,
    histories: Sequence[History],
    computed: Sequence[EngineState | None],
    *,
    waits: bool = True,
) -> list[str]:
    """Sealed states of histories with one start; what is None of `computed` is computed first.

    It is None where a prompt's own request cannot give it: after sampling, or after token ids that
    are not the canonical segmentation of their text. The state cache makes it a few steps. `waits`:
    as for `collect`; false where nothing else was computed.
    """
    known = list(computed)
    missing = [k for k, history in enumerate(histories) if history.ids and known[k] is None]
    if missing:
        request = EngineRequest(
            request_id=new_request_id(),
            prompts=tuple(histories[k].ids for k in missing),
            start=histories[missing[0]].start,
            state_at=tuple(len(histories[k].ids) for k in missing),
        )
        collected = await collect(model.engine, request, waits=waits)
        for k, output in zip(missing, collected.prompts, strict=True):
            known[k] = output.state
    return [
        seal_state(context, model, history, state)
        for history, state in zip(histories, known, strict=True)
    ]


def count_usage(
    context: AppContext, model: ServedModel, num_tokens: int, *, cached: int
) -> dict[str, int]:
    """A `Usage` of a request that generates nothing, added to the counters."""
    cached = min(cached, num_tokens)
    context.metrics.count_tokens(model.name, prompt=num_tokens, cached=cached)
    return {
        "prompt_tokens": num_tokens,
        "cached_tokens": cached,
        "total_tokens": num_tokens,
    }


@dataclass(frozen=True, kw_only=True)
class Collected:
    """All that came back for a request without continuations, prompts in their order."""

    prompts: list[PromptOutput]
    cached_tokens: int


async def collect(engine: AsyncEngine, request: EngineRequest, *, waits: bool = False) -> Collected:
    """Run a request that generates nothing. Leaving early aborts it.

    waits: where the queue is full, wait for room. For what goes on with work that is done already:
    only the first of the requests that an answer takes may be refused.
    """
    while True:
        try:
            return await _collect(engine, request)
        except QueueFullError:
            if not waits:
                raise
            await asyncio.sleep(_ROOM_POLL_S)


async def _collect(engine: AsyncEngine, request: EngineRequest) -> Collected:
    assert request.sampling is None
    prompts: dict[int, PromptOutput] = {}
    cached_tokens = 0
    outputs = engine.submit(request)
    async with aclosing(outputs):  # type: ignore[type-var]
        async for output in outputs:
            if output.error is not None:
                raise impossible(output.error)
            prompts.update((prompt.index, prompt) for prompt in output.prompts)
            cached_tokens = max(cached_tokens, output.cached_tokens)
            if output.finished:
                break
    return Collected(
        prompts=[prompts[index] for index in range(len(request.prompts))],
        cached_tokens=cached_tokens,
    )


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A history whose final tokens are in its state, and how many of them were cached."""

    history: History
    cached_tokens: int


async def settle(
    model: ServedModel, history: History, priority: Priority, *, waits: bool = False
) -> Settled:
    """`history` with its token ids turned into a state, in at most one request.

    Sequences that start from a state are bit for bit those that were sent whole. `waits`: as for
    `collect`.
    """
    if not history.ids:
        return Settled(history=history, cached_tokens=0)
    request = EngineRequest(
        request_id=new_request_id(),
        prompts=(history.ids,),
        start=history.start,
        state_at=(len(history.ids),),
        priority=priority,
    )
    collected = await collect(model.engine, request, waits=waits)
    state = collected.prompts[0].state
    assert state is not None
    return Settled(
        history=replace(history, start=state, ids=()), cached_tokens=collected.cached_tokens
    )


def check_begun(history: History) -> None:
    """Refuse a state in front of which nothing stands: what follows it has no probability."""
    if history.start is None and not history.ids:
        raise invalid(
            "state", "is of a sequence without begin-of-sequence that has no whole token yet"
        )
