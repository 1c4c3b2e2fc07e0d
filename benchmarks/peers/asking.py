"""What is asked of both servers, in turn, and the figures that come of it."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.harness import Json
from benchmarks.load import (
    COMPLETIONS,
    Client,
    StreamLoad,
    answer_of,
    answered,
    completion,
    early_and_late_turn,
    percentiles,
    streams_at_once,
)

T = TypeVar("T")

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
class Pair:
    """Both servers. vocab: ids that a prompt may be made of."""

    ours: Client
    llama: Client
    vocab: Sequence[int]

    def in_turn(self, ask: Callable[[Client, int], T], rounds: int) -> dict[str, list[T]]:
        """What each answered, round by round; who is first alternates. A first round is not kept.

        ask: is given a server and the number of the round, for a prompt that is new.
        """
        found: dict[str, list[T]] = {OURS: [], LLAMA: []}
        sides = [(OURS, self.ours), (LLAMA, self.llama)]
        for number in range(1 + rounds):
            for name, client in sides:
                found[name].append(ask(client, number))
            sides.reverse()
        return {name: answers[1:] for name, answers in found.items()}


def one_stream(pair: Pair, plan: Plan) -> Json:
    return _ratio_of_rates("one_stream", _streams(pair, plan.rounds, 1, plan.single_tokens))


def streams64(pair: Pair, plan: Plan) -> Json:
    loads = _streams(pair, plan.rounds, plan.streams, plan.stream_tokens)
    first = {
        name: percentiles([t for load in found for t in load.first_token_s])
        for name, found in loads.items()
    }
    return {
        **_ratio_of_rates("streams64", loads),
        "ttft64_vs_llama_server": first[LLAMA]["p50"] / first[OURS]["p50"],
        "ttft64_p99_vs_llama_server": first[LLAMA]["p99"] / first[OURS]["p99"],
        "ttft64_ms": first,
    }


def _streams(pair: Pair, rounds: int, streams: int, tokens: int) -> dict[str, list[StreamLoad]]:
    def ask(client: Client, number: int) -> StreamLoad:
        first = number * streams
        bodies = [completion(first + k, tokens) | SAMPLING for k in range(streams)]
        load = client(streams_at_once, bodies)
        if load.tokens != streams * tokens:
            raise RuntimeError(f"{load.tokens} tokens came of {streams} streams of {tokens}")
        return load

    return pair.in_turn(ask, rounds)


def _ratio_of_rates(key: str, loads: dict[str, list[StreamLoad]]) -> Json:
    rates = {
        name: statistics.median(load.tokens / load.seconds for load in found)
        for name, found in loads.items()
    }
    return {
        f"{key}_vs_llama_server": rates[OURS] / rates[LLAMA],
        f"{key}_tokens_per_s": rates,
    }


def chat(pair: Pair, plan: Plan) -> Json:
    def turns(client: Client, number: int, *, by_state: bool = False) -> tuple[float, float]:
        return client(
            early_and_late_turn,
            last_turn=plan.last_turn,
            body=answer_of(plan.answer_tokens, seed=1000 * number) | SAMPLING,
            by_state=by_state,
            sayings=plan.sayings,
        )

    pairs = pair.in_turn(turns, plan.conversations)
    pairs[f"{OURS}_by_state"] = [
        turns(pair.ours, number, by_state=True) for number in range(plan.conversations)
    ]
    early, late = (
        {name: 1000 * statistics.median(p[k] for p in found) for name, found in pairs.items()}
        for k in range(2)
    )
    return {
        "chat_turn2_vs_llama_server": early[LLAMA] / early[OURS],
        "chat_turn50_vs_llama_server": late[LLAMA] / late[OURS],
        "chat_turn2_ms": early,
        "chat_turn50_ms": late,
    }


def prompt4096(pair: Pair, plan: Plan) -> Json:
    def seconds(client: Client, number: int) -> float:
        prompt = random.Random(number).choices(pair.vocab, k=plan.prompt_tokens)
        body = SAMPLING | {"prompt": prompt, "max_tokens": 1, "seed": number, "ignore_eos": True}
        taken, _ = client(answered, COMPLETIONS, body)
        return taken

    found = pair.in_turn(seconds, plan.rounds)
    median = {name: statistics.median(times) for name, times in found.items()}
    return {
        "prompt4096_vs_llama_server": median[LLAMA] / median[OURS],
        "prompt4096_tokens_per_s": {
            name: plan.prompt_tokens / seconds for name, seconds in median.items()
        },
    }


PARTS: dict[str, Callable[[Pair, Plan], Json]] = {
    "one_stream": one_stream,
    "streams64": streams64,
    "chat": chat,
    "prompt4096": prompt4096,
}
