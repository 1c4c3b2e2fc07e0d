"""From the command to the first answer, and the memory that takes. The real service, Linux only.

    python -m benchmarks.startup [--quick] [--save] [--model DIR]

seconds_to_ready: from starting `python -m service serve` to its 200 on /health/ready, asked for
    every 2 ms; median of the starts. The first start is not counted: it fills the page cache and
    writes bytecode.
seconds_to_ready_worst: of the counted starts.
rss_mb: resident memory of all the service's processes together when it is ready, in MiB, as PSS:
    a page that several processes map counts once, in parts. Median of the starts. This process is
    small and shares little with the service; other Python on the machine may share more, so run it
    alone.
rss_sum_mb: the same as plain RSS, which counts shared pages in every process.
rss_after_work_mb, rss_sum_after_work_mb: after 64 texts were scored and 8 streams of 64 tokens ran.
processes: how many the service has.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import SHIPPED, Benchmark, Timing, new_parser, parse
from benchmarks.load import completion, streams_at_once
from benchmarks.service_process import HOST, Memory, memory_of, running_service

_TEXT = "The quick brown fox jumps over the lazy dog, and number {} is not amused by it at all."


@dataclass(frozen=True, kw_only=True)
class Start:
    """What one start of the service showed."""

    seconds_to_ready: float
    ready: Memory
    after_work: Memory


def start_once(model: Path) -> Start:
    """Start the service, weigh it, give it work, weigh it again, and end it."""
    with running_service(model) as service:
        ready = memory_of(service.pid)
        _score(service.port, [_TEXT.format(k) for k in range(64)])
        streams_at_once(service.port, [completion(k, 64) for k in range(8)])
        after_work = memory_of(service.pid)
    return Start(seconds_to_ready=service.seconds_to_ready, ready=ready, after_work=after_work)


def _score(port: int, texts: Sequence[str]) -> None:
    connection = http.client.HTTPConnection(HOST, port)
    body = json.dumps({"texts": texts}).encode()
    connection.request("POST", "/v1/score", body, {"content-type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"the service refused to score: {response.read()[:400]!r}")
    connection.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.startup", __doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="checkpoint that is served")
    options = parse(parser, argv)
    if not options.model.is_dir():
        parser.error(f"--model: there is no checkpoint at {options.model}")
    benchmark = Benchmark("startup", options)
    rounds = 1 if options.quick else 9
    _, *starts = (start_once(options.model) for _ in range(1 + rounds))
    seconds = [start.seconds_to_ready for start in starts]
    benchmark.publish(
        {
            "seconds_to_ready": statistics.median(seconds),
            "seconds_to_ready_worst": max(seconds),
            "rss_mb": statistics.median(start.ready.pss for start in starts),
            "rss_sum_mb": statistics.median(start.ready.rss for start in starts),
            "rss_after_work_mb": statistics.median(start.after_work.pss for start in starts),
            "rss_sum_after_work_mb": statistics.median(start.after_work.rss for start in starts),
            "processes": starts[0].ready.processes,
        },
        config={
            "model": options.model.resolve().name,
            "rounds": rounds,
            "memory": "PSS of all processes; rss_sum: RSS",
        },
        timings={"ready": Timing.of(seconds)},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
