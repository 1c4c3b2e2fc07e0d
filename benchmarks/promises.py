"""What speed must not cost: early first tokens, quick cancellation, fairness. A real service.

    python -m benchmarks.promises [--quick] [--save] [--model DIR]

first_token_ms, first_token_beside_scoring_ms: percentiles of the time from a request to its first
    event with text, one stream at a time; alone, and while one request scores `config.texts` long
    texts.
gap_ms, gap_beside_scoring_ms: of the times between such events.
stream_beside_scoring: tokens/s of such a stream beside the scoring over those of one alone;
    stream_tokens_per_s, stream_beside_scoring_tokens_per_s: the medians.
rows_free_after_ms: from closing 64 connections in the middle of their streams to the first answer
    of the metrics page that says that no row is in use; median and largest of the rounds. Asking
    takes a part of it: metrics_ms is the median of that alone.

Every stream has a prompt of its own. The service has its default settings; the load has a process
of its own on the same machine.
"""

from __future__ import annotations

import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.request import urlopen

from benchmarks.harness import SHIPPED, Benchmark, Json, new_parser, parse
from benchmarks.load import (
    COMPLETIONS,
    Client,
    StreamLoad,
    answered,
    completion,
    load_process,
    percentiles,
    streams_at_once,
)
from benchmarks.service_process import HOST, running_service
from benchmarks.sse_client import post

_ENDLESS = 50_000  # tokens: more than are made before the connections are closed
_RUNNING = "vllm:num_requests_running"
_LIMIT_S = 30.0
_SENTENCE = "the rain fell in torrents except at occasional intervals when it was checked . "


@dataclass(frozen=True, kw_only=True)
class Plan:
    """streams: one after the other, alone and beside the scoring; texts: that it scores."""

    streams: int = 40
    stream_tokens: int = 64
    texts: int = 120
    text_words: int = 4000
    dropped: int = 64
    rounds: int = 9


FULL = Plan()
QUICK = Plan(streams=2, stream_tokens=16, texts=4, text_words=1000, rounds=1)


def in_turn(
    client: Client, plan: Plan, first: int, goes_on: Callable[[], bool]
) -> list[StreamLoad]:
    """Streams, one after the other, at most `plan.streams` and while there is reason to go on."""
    loads: list[StreamLoad] = []
    while len(loads) < plan.streams and (not loads or goes_on()):
        body = completion(first + len(loads), plan.stream_tokens)
        loads.append(client(streams_at_once, [body]))
    return loads


def measure_fairness(port: int, client: Client, plan: Plan) -> Json:
    """One stream alone, and beside a request that scores very much."""
    in_turn(client, plan, 0, lambda: False)  # what is only done once
    alone = in_turn(client, plan, 1000, lambda: True)
    text = _SENTENCE * (plan.text_words // len(_SENTENCE.split()))
    texts = [f"{number} {text}" for number in range(plan.texts)]
    with ThreadPoolExecutor(1) as pool:
        scoring = pool.submit(answered, port, "/v1/score", {"texts": texts})
        _wait(port, lambda rows: rows > 0 or scoring.done())
        beside = in_turn(client, plan, 2000, lambda: not scoring.done())
        scoring.result()
    rates = [_rate(loads) for loads in (alone, beside)]
    return {
        "first_token_ms": percentiles([t for load in alone for t in load.first_token_s]),
        "first_token_beside_scoring_ms": percentiles([t for x in beside for t in x.first_token_s]),
        "gap_ms": percentiles([t for load in alone for t in load.gaps_s]),
        "gap_beside_scoring_ms": percentiles([t for load in beside for t in load.gaps_s]),
        "stream_tokens_per_s": rates[0],
        "stream_beside_scoring_tokens_per_s": rates[1],
        "stream_beside_scoring": rates[1] / rates[0],
        "streams_beside_scoring": len(beside),
    }


def _rate(loads: Sequence[StreamLoad]) -> float:
    return statistics.median(load.tokens / load.seconds for load in loads)


def measure_cancellation(port: int, plan: Plan) -> Json:
    """Connections that are closed while they stream."""
    free: list[float] = []
    for number in range(plan.rounds):
        first = 10_000 + number * plan.dropped
        streams = [_begun(port, completion(first + k, _ENDLESS)) for k in range(plan.dropped)]
        _wait(port, lambda rows: rows >= plan.dropped)
        for stream in streams:
            stream.close()
        begin = time.perf_counter()
        _wait(port, lambda rows: rows == 0)
        free.append(1000 * (time.perf_counter() - begin))
    asking = [_timed(lambda: _rows_in_use(port)) for _ in range(9)]
    return {
        "rows_free_after_ms": {"p50": statistics.median(free), "max": max(free)},
        "metrics_ms": 1000 * statistics.median(asking),
    }


def _begun(port: int, body: Json) -> socket.socket:
    """A connection on which an answer has begun."""
    connection = socket.create_connection((HOST, port))
    connection.sendall(post(COMPLETIONS, HOST, body))
    connection.recv(1)
    return connection


def _wait(port: int, is_so: Callable[[float], bool]) -> None:
    """Until so many rows are in use."""
    limit = time.monotonic() + _LIMIT_S
    while not is_so(_rows_in_use(port)):
        if time.monotonic() > limit:
            raise RuntimeError(f"{_rows_in_use(port):g} rows are in use after {_LIMIT_S:g} s")


def _rows_in_use(port: int) -> float:
    with closing(urlopen(f"http://{HOST}:{port}/metrics")) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(_RUNNING))


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.promises", __doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="checkpoint that is served")
    options = parse(parser, argv)
    if not options.model.is_dir():
        parser.error(f"--model: there is no checkpoint at {options.model}")
    benchmark = Benchmark("promises", options)
    plan = QUICK if options.quick else FULL
    with running_service(options.model) as service, load_process() as executor:
        figures = measure_fairness(service.port, Client(executor, service.port), plan)
        figures |= measure_cancellation(service.port, plan)
    benchmark.publish(figures, config={"model": options.model.resolve().name, **asdict(plan)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
