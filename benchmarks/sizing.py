"""What a service needs and gives by model, replicas and threads: rows for docs/operations.md.

    python -m benchmarks.sizing [--quick] [--save] [--models DIR ...]

memory_mb: proportional set size of the service and its engines, loaded, after the work;
streams_tokens_per_s: generated together in `config.streams` streams; scored_tokens_per_s: read in
`config.texts` texts of one request. Load and service share the machine: it needs a core for each
engine, and one for them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness import SHIPPED, Benchmark, Json, new_parser, parse
from benchmarks.load import Client, answered, completion, load_process, streams_at_once
from benchmarks.service_process import memory_of, running_service

_SENTENCE = "the rain fell in torrents except at occasional intervals when it was checked . "


@dataclass(frozen=True, kw_only=True)
class Plan:
    """replicas, threads: one of both is more than one at a time."""

    replicas: tuple[int, ...] = (1, 2)
    threads: tuple[int, ...] = (1, 2)
    streams: int = 64
    stream_tokens: int = 200
    texts: int = 200


FULL = Plan()
QUICK = Plan(replicas=(1,), threads=(1,), streams=4, stream_tokens=8, texts=4)


def shapes(plan: Plan) -> Iterator[tuple[int, int]]:
    """(replicas, threads) of each service."""
    yield from ((count, 1) for count in plan.replicas)
    yield from ((1, count) for count in plan.threads if count > 1)


def measure(model: Path, replicas: int, threads: int, plan: Plan) -> Json:
    """One service."""
    arguments = ["--replicas", str(replicas), "--threads", str(threads)]
    with running_service(model, arguments) as service, load_process() as executor:
        client = Client(executor, service.port)
        bodies = [completion(number, plan.stream_tokens) for number in range(plan.streams)]
        client(streams_at_once, bodies[:replicas])  # what is only done once
        load = client(streams_at_once, bodies)
        texts = [f"{number} {_SENTENCE * 8}" for number in range(plan.texts)]
        seconds, answer = client(answered, "/v1/score", {"texts": texts})
        memory = memory_of(service.pid)
    return {
        "model": model.name,
        "replicas": replicas,
        "threads": threads,
        "memory_mb": memory.pss,
        "streams_tokens_per_s": load.tokens / load.seconds,
        "scored_tokens_per_s": answer["usage"]["total_tokens"] / seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.sizing", __doc__)
    shipped = sorted(folder for folder in SHIPPED.parent.iterdir() if folder.is_dir())
    parser.add_argument("--models", type=Path, nargs="+", default=shipped, help="checkpoints")
    options = parse(parser, argv)
    benchmark = Benchmark("sizing", options)
    plan = QUICK if options.quick else FULL
    rows = [measure(model, *shape, plan) for model in options.models for shape in shapes(plan)]
    benchmark.publish({"services": rows}, config=asdict(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main())
