"""The service over HTTP: a real one in its processes, and the load on it in another.

    python -m benchmarks.http [--quick] [--save] [--model DIR]

sse64_vs_engine: tokens/s of 64 completions streamed at once (`stream`, temperature 1, 256 tokens
    each, seeded), from the first request to the last byte, over those of the same 64 requests
    handed to Engine in this process, from the first `add_request` to the last output. The load
    generator (raw sockets, asyncio, one connection a stream) has a process of its own on the same
    machine and is included: it takes its part of the processor from the service.
one_core_sse{1,64}_vs_engine: the service with all its processes on one core, the load on another,
    over the engine alone on that core: one stream of 256 tokens, and 64.
sse64_tokens_per_s, engine_b64_tokens_per_s, sse1_tokens_per_s: the rates, and that of one stream.
sse64_first_token_ms, sse64_gap_ms: percentiles over the streams of the time from a request to its
    first event with text, and of the times between such events.
chat_turn100_vs_turn2: latency of a chat's turn 100 over that of a turn 2 of the same user's words,
    measured one after the other, answers of 24 tokens, history sent whole each time (the service
    finds it in its state cache); ratio of the medians over several conversations.
chat_turn100_vs_turn2_by_state: the same with `state` sent in place of the history.
chat_turn{2,100}_ms, chat_turn{2,100}_by_state_ms: the medians.
load_first_token_ms, load_total_ms: percentiles under the load stated in `config`: completions of
    32 tokens, streamed, arriving as a Poisson process; counted from when a request was due.
load_tokens_per_s: tokens generated under that load.

Every stream has a prompt of its own, about 16 tokens; each round has new ones, so no cache helps.

The service has its default settings (one engine process, one thread).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import SHIPPED, Benchmark, Json, new_parser, parse
from benchmarks.load import (
    Client,
    StreamLoad,
    answer_of,
    completion,
    early_and_late_turn,
    load_process,
    percentiles,
    streams_at_once,
    streams_by_arrival,
)
from benchmarks.model_s import new_engine
from benchmarks.service_process import cores_of, pinned, running_service
from benchmarks.streams import generate, stream_requests
from models.checkpoint import load_checkpoint
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import build_runner
from service.engine.request import SamplingParams


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. rate: arrivals a second; arrivals: how many in all."""

    streams: int = 64
    stream_tokens: int = 256
    rounds: int = 9
    last_turn: int = 100
    answer_tokens: int = 24
    conversations: int = 9
    rate: float = 50.0
    arrivals: int = 500
    arrival_tokens: int = 32


FULL = Plan()
QUICK = Plan(stream_tokens=16, rounds=1, last_turn=9, conversations=1, arrivals=20)


class EngineAlone:
    """The engine that the service runs, without the service."""

    def __init__(self, model: Path) -> None:
        checkpoint = load_checkpoint(model)
        self._tokenizer = checkpoint.tokenizer
        self._runner = build_runner(checkpoint, EngineOptions())
        self.arithmetic = self._runner.arithmetic

    def tokens_per_s(self, bodies: Sequence[Json]) -> float:
        """Of completions as `completion` describes them, of one length and of seeds in a row."""
        tokenizer = self._tokenizer
        prompts = [[tokenizer.bos_id, *tokenizer.encode(body["prompt"])] for body in bodies]
        sampling = SamplingParams(
            max_tokens=bodies[0]["max_tokens"],
            suppressed_token_ids=tuple(tokenizer.control_ids.values()),
        )
        requests = stream_requests(prompts, sampling, first_seed=bodies[0]["seed"])
        engine = new_engine(self._runner)
        begin = time.perf_counter()
        return generate(engine, requests) / (time.perf_counter() - begin)


def measure_streams(client: Client, engine: EngineAlone, plan: Plan) -> Json:
    """Many streams against the engine alone, in turn; and one stream."""
    loads: list[StreamLoad] = []
    single: list[StreamLoad] = []
    alone: list[float] = []
    for number in range(1 + plan.rounds):
        first = number * (plan.streams + 1)
        bodies = [completion(first + k, plan.stream_tokens) for k in range(plan.streams + 1)]
        alone.append(engine.tokens_per_s(bodies[1:]))
        loads.append(client(streams_at_once, bodies[1:]))
        single.append(client(streams_at_once, bodies[:1]))
    for measured in (loads, single, alone):
        del measured[0]  # with what is only done once
    rate = statistics.median(load.tokens / load.seconds for load in loads)
    return {
        "sse64_vs_engine": rate / statistics.median(alone),
        "sse64_tokens_per_s": rate,
        "engine_b64_tokens_per_s": statistics.median(alone),
        "sse1_tokens_per_s": statistics.median(load.tokens / load.seconds for load in single),
        "sse64_first_token_ms": percentiles([t for load in loads for t in load.first_token_s]),
        "sse64_gap_ms": percentiles([t for load in loads for t in load.gaps_s]),
    }


def measure_one_core(client: Client, engine: EngineAlone, plan: Plan, core: int) -> Json:
    """A service on `core`, through `client`, and the engine alone on the same core, in turn."""
    figures: Json = {}
    for count in (1, plan.streams):
        served: list[float] = []
        alone: list[float] = []
        for number in range(1 + plan.rounds):
            first = 500_000 + number * count
            bodies = [completion(first + k, plan.stream_tokens) for k in range(count)]
            with pinned(core):
                alone.append(engine.tokens_per_s(bodies))
            load = client(streams_at_once, bodies)
            served.append(load.tokens / load.seconds)
        rate, bare = statistics.median(served[1:]), statistics.median(alone[1:])
        figures[f"one_core_sse{count}_vs_engine"] = rate / bare
        figures[f"one_core_sse{count}_tokens_per_s"] = rate
    return figures


def measure_chat(client: Client, plan: Plan) -> Json:
    """Early and late turns of conversations, by history and by state."""
    figures: Json = {}
    for by_state, suffix in ((False, ""), (True, "_by_state")):
        pairs = [
            client(
                early_and_late_turn,
                last_turn=plan.last_turn,
                body=answer_of(plan.answer_tokens, seed=1000 * (k + 1)),
                by_state=by_state,
            )
            for k in range(plan.conversations)
        ]
        early, late = (statistics.median(times) for times in zip(*pairs, strict=True))
        figures[f"chat_turn100_vs_turn2{suffix}"] = late / early
        figures[f"chat_turn2{suffix}_ms"] = 1000 * early
        figures[f"chat_turn100{suffix}_ms"] = 1000 * late
    return figures


def measure_load(client: Client, plan: Plan) -> Json:
    """Latencies of short completions that arrive at random."""
    first = 1_000_000  # far from the prompts of `measure_streams`
    bodies = [completion(first + k, plan.arrival_tokens) for k in range(plan.arrivals)]
    load = client(streams_by_arrival, bodies, plan.rate, 0)
    return {
        "load_first_token_ms": percentiles(load.first_token_s),
        "load_total_ms": percentiles(load.total_s),
        "load_tokens_per_s": load.tokens / load.seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.http", __doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="checkpoint that is served")
    options = parse(parser, argv)
    if not options.model.is_dir():
        parser.error(f"--model: there is no checkpoint at {options.model}")
    load_core, core = cores_of(parser)
    benchmark = Benchmark("http", options)
    plan = QUICK if options.quick else FULL
    engine = EngineAlone(options.model)
    with running_service(options.model) as service, load_process() as executor:
        client = Client(executor, service.port)
        figures = measure_streams(client, engine, plan)
        figures |= measure_chat(client, plan)
        figures |= measure_load(client, plan)
    with (
        running_service(options.model, core=core) as service,
        load_process(load_core) as executor,
    ):
        figures |= measure_one_core(Client(executor, service.port), engine, plan, core)
    benchmark.publish(
        figures,
        config={
            "model": options.model.resolve().name,
            "precision": engine.arithmetic,
            "threads": EngineOptions().threads,
            "rows": EngineOptions().max_num_seqs,
            **asdict(plan),
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
