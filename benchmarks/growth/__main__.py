"""How cost and memory grow with what is asked, and docs/growth.md with its plots.

    python -m benchmarks.growth [--quick] [--save] [--only streams,...] [--redraw]

The service runs on the last core, the load on the first; only the replicas may use every core.
Cost is the CPU time of the service's processes; `clock_us` is by the clock. Memory is PSS.

curves: by name the points, cost in microseconds of one unit, memory in MiB.
{streams,history_read,history_answer,texts,lists}_growth: cost at the largest point over the cost
    at the cheapest: 1 where nothing bends upwards.
conversations_memory_mib: memory of the service with all conversations open, and
    conversations_added_mib: how much of it is more than with the fewest.
conversations_return_growth: cost of a further turn with the most open over that with the fewest.
replicas_speedup: tokens/s of two replicas over one, by the clock, all cores for service and load.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict

from benchmarks.growth.curves import (
    Point,
    Subject,
    conversations,
    history,
    lists,
    replica_streams,
    streams,
    texts,
)
from benchmarks.growth.page import write_page
from benchmarks.growth.scales import FULL, QUICK, Scales
from benchmarks.harness import RESULTS, SHIPPED, Benchmark, Json, new_parser, parse, rounded
from benchmarks.load import load_process
from benchmarks.service_process import cores_of, running_service
from models.checkpoint import load_checkpoint
from models.tokenizer import Tokenizer

# The defaults refuse what is too large for one of many users.
LIMITS = (
    *("--max-waiting", "1024"),
    *("--max-prompt-tokens", str(8 << 20)),
    *("--max-body-bytes", str(64 << 20)),
)
PARTS = ("streams", "history", "texts", "lists", "conversations", "replicas")
Curves = dict[str, list[Point]]


def measure(parts: Sequence[str], scales: Scales, executor: Executor, core: int) -> Curves:
    """Every part on a service of its own, so that none begins with another's memory."""
    tokenizer = load_checkpoint(SHIPPED).tokenizer
    curves: Curves = {}
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        if part == "replicas":
            curves["replicas"] = on_replicas(scales, executor, tokenizer)
            continue
        with running_service(SHIPPED, LIMITS, core=core) as service:
            subject = Subject.of(service, executor, tokenizer)
            found = measure_part(part, subject, scales)
        for name, points in found.items():
            for point in points:
                print(f"  {name} {rounded(asdict(point))}", file=sys.stderr, flush=True)
        curves |= found
    return curves


def measure_part(part: str, subject: Subject, scales: Scales) -> Curves:
    if part == "history":
        reading, answering = history(subject, scales)
        return {"history_read": reading, "history_answer": answering}
    if part == "conversations":
        opening, returning = conversations(subject, scales)
        return {"conversations_open": opening, "conversations_return": returning}
    curve = {"streams": streams, "texts": texts, "lists": lists}[part]
    return {part: curve(subject, scales)}


def on_replicas(scales: Scales, executor: Executor, tokenizer: Tokenizer) -> list[Point]:
    points = []
    for replicas in scales.replicas:
        arguments = [*LIMITS, "--replicas", str(replicas)]
        with running_service(SHIPPED, arguments) as service:
            subject = Subject.of(service, executor, tokenizer)
            points.append(replica_streams(subject, replicas, scales))
    return points


def summary(curves: Curves) -> Json:
    """The figures that say whether a curve bends."""
    figures: Json = {}
    for name in ("streams", "history_read", "history_answer", "texts", "lists"):
        if name in curves:
            costs = [point.cpu_us for point in curves[name]]
            figures[f"{name}_growth"] = costs[-1] / min(costs)
    if "conversations_return" in curves:
        returning = curves["conversations_return"]
        memory = [point.memory_mib for point in returning]
        figures["conversations_memory_mib"] = memory[-1]
        figures["conversations_added_mib"] = memory[-1] - memory[0]
        figures["conversations_return_growth"] = returning[-1].cpu_us / returning[0].cpu_us
    if "replicas" in curves:
        one, *_, most = curves["replicas"]
        figures["replicas_speedup"] = one.clock_us / most.clock_us
    return figures


def columns(points: Sequence[Point]) -> dict[str, list[float]]:
    rows = [asdict(point) for point in points]
    return {name: [row[name] for row in rows] for name in rows[0]}


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.growth", __doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="curves, with commas")
    parser.add_argument("--redraw", action="store_true", help="only the page, from what was saved")
    options = parse(parser, argv)
    if not options.redraw:
        parts = options.only.split(",")
        if unknown := set(parts) - set(PARTS):
            parser.error(f"{unknown.pop()!r} is unknown: choose from {', '.join(PARTS)}")
        if options.save and set(parts) != set(PARTS):
            parser.error("--save keeps whole runs: leave out --only")
        load_core, core = cores_of(parser)
        benchmark = Benchmark("growth", options)
        scales = QUICK if options.quick else FULL
        with load_process(load_core) as executor:
            curves = measure(parts, scales, executor, core)
        benchmark.publish(
            {**summary(curves), "curves": {name: columns(c) for name, c in curves.items()}},
            config={
                "model": SHIPPED.name,
                "limits": " ".join(LIMITS),
                "cores": {"load": load_core, "service": core},
                **asdict(scales),
            },
        )
    if options.save or options.redraw:
        write_page(json.loads((RESULTS / "growth.json").read_text("utf-8")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
