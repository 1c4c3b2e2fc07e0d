"""The load on the service, made in a process of its own: streams, arrivals, conversations."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from typing import Any, TypeVar

from benchmarks.harness import percentile
from benchmarks.service_process import HOST
from benchmarks.sse_client import Stream, post, read_stream, receive

Json = dict[str, Any]
T = TypeVar("T")

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
_PROMPTS = (
    "It was a dark and stormy night; the rain fell in torrents, except at",
    "The first thing that he noticed when he came into the room was",
    "I would like to book a table for four people at",
    "In the spring of that year the river rose higher than",
)
SAYINGS = (
    "what did you do this morning ?",
    "i would like to find a place to eat .",
    "that sounds good , where is it ?",
    "do you know what the weather is like ?",
    "i have never heard of it before .",
    "can you tell me more about that ?",
    "thank you , that is very kind .",
)


def completion(number: int, max_tokens: int) -> Json:
    """The body of a streamed completion of exactly so many tokens.

    Another number is another prompt, of which the service's cache knows nothing.
    """
    return {
        "prompt": f"{number}. {_PROMPTS[number % len(_PROMPTS)]}",
        "max_tokens": max_tokens,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": number,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def answer_of(max_tokens: int, seed: int) -> Json:
    """What a chat request says beside its messages, where the answer has exactly so many tokens."""
    return {"max_tokens": max_tokens, "ignore_eos": True, "seed": seed}


def load_process(core: int | None = None) -> ProcessPoolExecutor:
    """One other process, new, to run the functions of this module in; on one core where given."""
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=get_context("spawn"),
        initializer=_pin,
        initargs=(core,),
    )


def _pin(core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})


class Client:
    """Runs functions of this module on a port, in the load's process."""

    def __init__(self, executor: Executor, port: int) -> None:
        self._executor, self._port = executor, port

    def __call__(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return self._executor.submit(partial(function, self._port, *arguments, **named)).result()


@dataclass(frozen=True, kw_only=True)
class StreamLoad:
    """What streams did together. seconds: from the first request to the last byte.

    first_token_s, gaps_s: of each stream its first event; of all streams, times between events.
    total_s: of each stream, from its request (or from when it was due) to its end.
    """

    seconds: float
    tokens: int
    first_token_s: list[float]
    gaps_s: list[float]
    total_s: list[float]


def streams_at_once(port: int, bodies: Sequence[Json]) -> StreamLoad:
    """Completions, streamed, all sent at the same moment."""
    requests = [post(COMPLETIONS, HOST, body) for body in bodies]

    async def run() -> list[Stream]:
        received = await asyncio.gather(*(receive(HOST, port, request) for request in requests))
        return [read_stream(*one) for one in received]

    streams = asyncio.run(run())
    return _summary(streams, [stream.begin for stream in streams])


def streams_by_arrival(port: int, bodies: Sequence[Json], rate: float, seed: int) -> StreamLoad:
    """Completions, streamed, sent as a Poisson process of `rate` a second.

    Each waits for its time, not for the ones before it, and its latency counts from that time:
    a service that falls behind is not asked less.
    """
    draw = random.Random(seed)
    requests = [post(COMPLETIONS, HOST, body) for body in bodies]

    async def run() -> tuple[list[Stream], list[float]]:
        due, tasks = time.perf_counter(), []
        times = []
        for request in requests:
            due += draw.expovariate(rate)
            times.append(due)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(receive(HOST, port, request)))
        return [read_stream(*one) for one in await asyncio.gather(*tasks)], times

    return _summary(*asyncio.run(run()))


def _summary(streams: Sequence[Stream], due: Sequence[float]) -> StreamLoad:
    return StreamLoad(
        seconds=max(stream.end for stream in streams) - min(due),
        tokens=sum(stream.tokens for stream in streams),
        first_token_s=[s.event_times[0] - d for s, d in zip(streams, due, strict=True)],
        gaps_s=[after - before for s in streams for before, after in pairwise(s.event_times)],
        total_s=[stream.end - d for stream, d in zip(streams, due, strict=True)],
    )


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    return {f"p{p}": 1000 * percentile(seconds, p) for p in (50, 90, 99)}


class Conversation:
    """A chat whose history is sent whole with every turn, or as the state of the turn before.

    body: what every request says beside its messages. sayings: how many the user makes in a turn.
    """

    def __init__(self, port: int, body: Json, *, by_state: bool = False, sayings: int = 1) -> None:
        self._connection = http.client.HTTPConnection(HOST, port)
        self._body, self._by_state, self._sayings = body, by_state, sayings
        self._messages: list[Json] = []
        self._state: str | None = None
        self.turns = 0

    def turn(self) -> float:
        """Say something, and wait for the whole answer; seconds.

        Seven sayings go round, so turns that are a multiple of seven apart begin alike.
        """
        self.turns += 1
        words = (SAYINGS[(self.turns + k) % len(SAYINGS)] for k in range(self._sayings))
        saying = {"role": "user", "content": " ".join(words)}
        body = dict(self._body)
        if self._by_state:
            body |= {"messages": [saying], "state": self._state, "return_state": True}
        else:
            self._messages.append(saying)
            body["messages"] = self._messages
        seconds, answer = _answer(self._connection, CHAT, body)
        (choice,) = answer["choices"]
        self._messages.append(choice["message"])
        self._state = choice.get("state")
        return seconds

    def close(self) -> None:
        self._connection.close()


def _answer(connection: http.client.HTTPConnection, path: str, body: Json) -> tuple[float, Json]:
    """Seconds until a request is answered whole, and the answer; RuntimeError where refused."""
    content = json.dumps(body).encode()
    begin = time.perf_counter()
    connection.request("POST", path, content, {"content-type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    seconds = time.perf_counter() - begin
    if response.status != 200:
        raise RuntimeError(f"{path} was refused: {content[:400]!r}")
    answer: Json = json.loads(content)
    return seconds, answer


def answered(port: int, path: str, body: Json) -> tuple[float, Json]:
    """Seconds until one request on a new connection is answered whole, and the answer."""
    connection = http.client.HTTPConnection(HOST, port)
    try:
        return _answer(connection, path, body)
    finally:
        connection.close()


def all_answered(port: int, path: str, bodies: Sequence[Json], lanes: int) -> list[Json]:
    """The answers to many requests, in their order, `lanes` of which are under way at once."""
    with ThreadPoolExecutor(lanes) as pool:
        return list(pool.map(lambda body: answered(port, path, body)[1], bodies))


def early_and_late_turn(
    port: int, *, last_turn: int, body: Json, by_state: bool = False, sayings: int = 1
) -> tuple[float, float]:
    """Seconds of the second turn of a new conversation and, next to it, of turn `last_turn`.

    body: what every request says beside its messages; its `seed` is the old conversation's.
    """
    old, new = (
        Conversation(port, body | {"seed": body["seed"] + k}, by_state=by_state, sayings=sayings)
        for k in range(2)
    )
    for _ in range(last_turn - 1):
        old.turn()
    new.turn()
    times = new.turn(), old.turn()
    old.close()
    new.close()
    return times
