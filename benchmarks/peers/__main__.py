"""Against llama-server with a Llama of equal size: both over HTTP, each whole on the same one core.

    python -m benchmarks.peers [--quick] [--save] [--only one_stream,...] [--sizes 8m,25m]

The first run builds llama-server, for minutes. Server processes are pinned to the last core, the
load generator to the first; servers are asked in turn, and figures are medians of the rounds.
Both get the same requests, with temperature 1 and nothing cut off. A ratio above 1 means that we
are ahead.

one_stream_vs_llama_server: tokens/s of one streamed completion of 256 tokens.
streams64_vs_llama_server: of 64 at once, of 64 tokens each, all together.
ttft64_vs_llama_server, ..._p99...: their first tokens' delay, median and 99th percentile.
chat_turn{2,50}_vs_llama_server: time of a whole turn of about 20 + 32 tokens, history resent.
chat_turn{2,50}_ms: the same, and ours with the state token in place of the history (`_by_state`).
prompt4096_vs_llama_server: time to read a prompt of 4,096 tokens and answer one.
..._cpu_vs_llama_server: the same work by the time that each server computed, whatever else the
    machine did meanwhile: to be believed on a busy one.
ready_vs_llama_server: from the command to the first 200; memory_mib: PSS when ready and after work.
..._25m_...: the same with models of 25 million parameters; else they have 8.4.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.harness import Benchmark, Json, new_parser, parse
from benchmarks.load import Client, load_process
from benchmarks.peers.asking import FULL, LLAMA, OURS, PARTS, QUICK, Figures, Plan, Server, Servers
from benchmarks.peers.llama_build import VERSION, add_cache_option, llama_server
from benchmarks.peers.llama_server import BODY, FLAGS_OF, LONG, MANY, running_llama
from benchmarks.peers.sizes import SIZES, Models, Size, write_models
from benchmarks.service_process import Service, cores_of, memory_of, running_service
from models.checkpoint import load_checkpoint

START = "start"
# As it is anyway where a checkpoint's loss by it was measured; random weights have no measure.
OURS_FLAGS = ("--precision", "int8")
# Each ratio of two servers, and the figure that it is made of.
_RATIOS = {
    "one_stream": "one_stream_tokens_per_s",
    "one_stream_cpu": "one_stream_tokens_per_cpu_s",
    "streams64": "streams64_tokens_per_s",
    "streams64_cpu": "streams64_tokens_per_cpu_s",
    "ttft64": "ttft64_p50_ms",
    "ttft64_p99": "ttft64_p99_ms",
    "chat_turn2": "chat_turn2_ms",
    "chat_turn50": "chat_turn50_ms",
    "prompt4096": "prompt4096_tokens_per_s",
    "prompt4096_cpu": "prompt4096_tokens_per_cpu_s",
    "ready": "ready_s",
}


def measure(
    program: Path, size: Size, parts: Sequence[str], plan: Plan, cores: tuple[int, int]
) -> Figures:
    """Figures of one size. cores: the load's, the servers'."""
    load_core, core = cores
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder, load_process(load_core) as executor:
        models = write_models(size, Path(folder))
        if START in parts:
            figures |= start(program, models, plan, core)
        for flags in (MANY, LONG):
            chosen = [part for part in parts if part in PARTS and FLAGS_OF[part] == flags]
            if not chosen:
                continue
            with (
                running_service(models.ours, OURS_FLAGS, core=core) as ours,
                running_llama(program, models.llama, core=core, flags=flags) as llama,
            ):
                members = {
                    OURS: Server(client=Client(executor, ours.port), pid=ours.pid, body={}),
                    LLAMA: Server(client=Client(executor, llama.port), pid=llama.pid, body=BODY),
                }
                servers = Servers(members=members, vocab=words(models.ours))
                for part in chosen:
                    figures |= PARTS[part](servers, plan)
                figures["memory_after_work_mib"] = {OURS: pss(ours), LLAMA: pss(llama)}
    return figures


def start(program: Path, models: Models, plan: Plan, core: int) -> Figures:
    """Seconds to ready, and memory then; a first start each is not counted."""
    seconds: dict[str, list[float]] = {OURS: [], LLAMA: []}
    memory: dict[str, list[float]] = {OURS: [], LLAMA: []}
    for _ in range(1 + plan.rounds):
        for name, server in (
            (OURS, running_service(models.ours, OURS_FLAGS, core=core)),
            (LLAMA, running_llama(program, models.llama, core=core, flags=LONG)),
        ):
            with server as running:
                seconds[name].append(running.seconds_to_ready)
                memory[name].append(pss(running))
    return {
        "ready_s": {name: statistics.median(times[1:]) for name, times in seconds.items()},
        "memory_ready_mib": {name: statistics.median(m[1:]) for name, m in memory.items()},
    }


def pss(server: Service) -> float:
    return memory_of(server.pid).pss


def words(model: Path) -> list[int]:
    """Tokens of plain text: what a prompt may be made of."""
    tokenizer = load_checkpoint(model).tokenizer
    ids = range(tokenizer.vocab_size)
    return [k for k in ids if not (tokenizer.is_control(k) or tokenizer.is_byte(k))]


def ratios(figures: Figures) -> dict[str, float]:
    """How far we are ahead, 1 being even, in everything that was measured."""
    found = {}
    for what, key in _RATIOS.items():
        if key in figures:
            ahead = figures[key][OURS] / figures[key][LLAMA]
            found[what] = ahead if "_per_" in key else 1 / ahead
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.peers", __doc__)
    known = [START, *PARTS]
    parser.add_argument("--only", default=",".join(known), help="parts, with commas")
    parser.add_argument("--sizes", default=",".join(SIZES), help="of the models, with commas")
    parser.add_argument("--rounds", type=int, help=f"of each part ({FULL.rounds})")
    add_cache_option(parser)
    options = parse(parser, argv)
    parts, sizes = options.only.split(","), options.sizes.split(",")
    for name, allowed in [*((p, known) for p in parts), *((s, SIZES) for s in sizes)]:
        if name not in allowed:
            parser.error(f"{name!r} is unknown: choose from {', '.join(allowed)}")
    if options.save and (set(parts) != set(known) or set(sizes) != set(SIZES)):
        parser.error("--save keeps whole runs: leave out --only and --sizes")
    load_core, core = cores_of(parser)
    program = llama_server(options.cache)
    benchmark = Benchmark("peers", options)
    plan = QUICK if options.quick else FULL
    if options.rounds is not None:
        plan = replace(plan, rounds=options.rounds, conversations=options.rounds)
    figures: Json = {}
    for name in sizes:
        size = SIZES[name]
        found = measure(program, size, parts, plan, (load_core, core))
        figures |= {f"{k}{size.suffix}_vs_llama_server": r for k, r in ratios(found).items()}
        figures |= {f"{k}{size.suffix}": by_server for k, by_server in found.items()}
    benchmark.publish(
        figures,
        config={
            "llama_cpp_python": VERSION,
            "our_flags": " ".join(OURS_FLAGS),
            "llama_flags": {part: " ".join(FLAGS_OF[part]) for part in PARTS},
            "llama_shapes": {name: asdict(SIZES[name].llama) for name in sizes},
            "models": {name: SIZES[name].ours.to_dict() for name in sizes},
            "cores": {"load": load_core, "servers": core},
            **asdict(plan),
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
