"""What is asked of both servers, in turn, and the figures that come of it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.harness import Json, percentile
from benchmarks.load import (
    COMPLETIONS,
    Client,
    StreamLoad,
    answer_of,
    answered,
    completion,
    early_and_late_turn,
    streams_at_once,
)
from benchmarks.service_process import cpu_seconds

T = TypeVar("T")
# What was measured, and by server what came out.
Figures = dict[str, dict[str, float]]

OURS, LLAMA = "lstm_serve", "llama_server"
# The same on both sides; llama-server cuts the distribution unless told otherwise.
SAMPLING: Json = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured."""

    rounds: int = 7
    single_tokens: int = 256
    streams: int = 64
    stream_tokens: int = 64
    last_turn: int = 50
    answer_tokens: int = 32
    sayings: int = 2
    conversations: int = 5
    prompt_tokens: int = 4096


FULL = Plan()
QUICK = Plan(
    rounds=1, single_tokens=16, stream_tokens=8, last_turn=4, conversations=1, prompt_tokens=256
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """body: what is said to it in every request, beside what all are told."""

    client: Client
    pid: int
    body: Json


@dataclass(frozen=True, kw_only=True)
class Answers(Generic[T]):
    """Of one server, round by round. cpu_seconds: that it computed for all of them together."""

    kept: list[T]
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Those that are compared, by name. vocab: ids that a prompt may be made of."""

    members: Mapping[str, Server]
    vocab: Sequence[int]

    def in_turn(self, ask: Callable[[Server, int], T], rounds: int) -> dict[str, Answers[T]]:
        """What each answered, round by round; who is first alternates. A first round is not kept.

        ask: is given a server and the number of the round, for a prompt that is new.
        """
        kept: dict[str, list[T]] = {name: [] for name in self.members}
        cpu_seconds_of = dict.fromkeys(self.members, 0.0)
        order = list(self.members)
        for number in range(1 + rounds):
            for name in order:
                server = self.members[name]
                before = cpu_seconds(server.pid)
                answer = ask(server, number)
                if number:
                    kept[name].append(answer)
                    cpu_seconds_of[name] += cpu_seconds(server.pid) - before
            order.reverse()
        return {n: Answers(kept=kept[n], cpu_seconds=cpu_seconds_of[n]) for n in self.members}


def one_stream(servers: Servers, plan: Plan) -> Figures:
    loads = _streams(servers, plan.rounds, 1, plan.single_tokens)
    return _rates("one_stream", loads)


def streams64(servers: Servers, plan: Plan) -> Figures:
    loads = _streams(servers, plan.rounds, plan.streams, plan.stream_tokens)
    figures = _rates("streams64", loads)
    for percent in (50, 90, 99):
        figures[f"ttft64_p{percent}_ms"] = {
            name: 1000 * percentile([t for load in found.kept for t in load.first_token_s], percent)
            for name, found in loads.items()
        }
    return figures


def _streams(
    servers: Servers, rounds: int, streams: int, tokens: int
) -> dict[str, Answers[StreamLoad]]:
    def ask(server: Server, number: int) -> StreamLoad:
        numbers = range(number * streams, (number + 1) * streams)
        bodies = [completion(k, tokens) | SAMPLING | server.body for k in numbers]
        load = server.client(streams_at_once, bodies)
        if load.tokens != streams * tokens:
            raise RuntimeError(f"{load.tokens} tokens came of {streams} streams of {tokens}")
        return load

    return servers.in_turn(ask, rounds)


def _rates(what: str, loads: dict[str, Answers[StreamLoad]]) -> Figures:
    """Tokens by the clock, the median of the rounds, and by what the server computed, of all."""
    return {
        f"{what}_tokens_per_s": {
            name: statistics.median(load.tokens / load.seconds for load in found.kept)
            for name, found in loads.items()
        },
        f"{what}_tokens_per_cpu_s": {
            name: sum(load.tokens for load in found.kept) / found.cpu_seconds
            for name, found in loads.items()
        },
    }


def chat(servers: Servers, plan: Plan) -> Figures:
    def turns(server: Server, number: int, *, by_state: bool = False) -> tuple[float, float]:
        return server.client(
            early_and_late_turn,
            last_turn=plan.last_turn,
            body=answer_of(plan.answer_tokens, seed=1000 * number) | SAMPLING | server.body,
            by_state=by_state,
            sayings=plan.sayings,
        )

    answers = servers.in_turn(turns, plan.conversations)
    pairs = {name: found.kept for name, found in answers.items()}
    if OURS in servers.members:
        numbers = range(1, 1 + plan.conversations)
        pairs[f"{OURS}_by_state"] = [
            turns(servers.members[OURS], number, by_state=True) for number in numbers
        ]
    early, late = (
        {name: 1000 * statistics.median(p[k] for p in found) for name, found in pairs.items()}
        for k in range(2)
    )
    return {"chat_turn2_ms": early, "chat_turn50_ms": late}


def prompt4096(servers: Servers, plan: Plan) -> Figures:
    def seconds(server: Server, number: int) -> float:
        prompt = random.Random(number).choices(servers.vocab, k=plan.prompt_tokens)
        body = answer_of(1, seed=number) | {"prompt": prompt} | SAMPLING | server.body
        taken, _ = server.client(answered, COMPLETIONS, body)
        return taken

    answers = servers.in_turn(seconds, plan.rounds)
    tokens = plan.prompt_tokens
    return {
        "prompt4096_tokens_per_s": {
            name: tokens / statistics.median(found.kept) for name, found in answers.items()
        },
        "prompt4096_tokens_per_cpu_s": {
            name: tokens * len(found.kept) / found.cpu_seconds for name, found in answers.items()
        },
    }


PARTS: Mapping[str, Callable[[Servers, Plan], Figures]] = {
    "one_stream": one_stream,
    "streams64": streams64,
    "chat": chat,
    "prompt4096": prompt4096,
}
