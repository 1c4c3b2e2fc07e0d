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
ready_vs_llama_server: from the command to the first 200; memory_mib: PSS when ready and after work.
..._25m_...: the same with models of 25 million parameters; else they have 8.4.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Benchmark, Json, new_parser, parse
from benchmarks.load import Client, load_process
from benchmarks.peers.asking import FULL, LLAMA, OURS, PARTS, QUICK, Pair, Plan
from benchmarks.peers.llama_build import VERSION, llama_server
from benchmarks.peers.llama_server import FLAGS, running_llama
from benchmarks.peers.sizes import SIZES, Models, Size, write_models
from benchmarks.service_process import Service, memory_of, running_service
from models.checkpoint import load_checkpoint

START = "start"


def measure(
    program: Path, size: Size, parts: Sequence[str], plan: Plan, cores: tuple[int, int]
) -> Json:
    """Figures of one size. cores: the load's, the servers'."""
    load_core, core = cores
    figures: Json = {}
    with tempfile.TemporaryDirectory() as folder:
        models = write_models(size, Path(folder))
        if START in parts:
            figures |= start(program, models, plan, core)
        with (
            running_service(models.ours, core=core) as ours,
            running_llama(program, models.llama, core=core) as llama,
            load_process(load_core) as executor,
        ):
            clients = [Client(executor, server.port) for server in (ours, llama)]
            pair = Pair(ours=clients[0], llama=clients[1], vocab=words(models.ours))
            for part in parts:
                if part != START:
                    figures |= PARTS[part](pair, plan)
            figures["memory_after_work_mib"] = {OURS: _pss(ours), LLAMA: _pss(llama)}
    return figures


def start(program: Path, models: Models, plan: Plan, core: int) -> Json:
    """Seconds to ready, and memory then; a first start each is not counted."""
    seconds: dict[str, list[float]] = {OURS: [], LLAMA: []}
    memory: dict[str, list[float]] = {OURS: [], LLAMA: []}
    for _ in range(1 + plan.rounds):
        for name, server in (
            (OURS, running_service(models.ours, core=core)),
            (LLAMA, running_llama(program, models.llama, core=core)),
        ):
            with server as running:
                seconds[name].append(running.seconds_to_ready)
                memory[name].append(_pss(running))
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    return {
        "ready_vs_llama_server": median[LLAMA] / median[OURS],
        "ready_s": median,
        "memory_ready_mib": {name: statistics.median(m[1:]) for name, m in memory.items()},
    }


def _pss(server: Service) -> float:
    return memory_of(server.pid).pss


def words(model: Path) -> list[int]:
    """Tokens of plain text: what a prompt may be made of."""
    tokenizer = load_checkpoint(model).tokenizer
    ids = range(tokenizer.vocab_size)
    return [k for k in ids if not (tokenizer.is_control(k) or tokenizer.is_byte(k))]


def with_suffix(figures: Json, suffix: str) -> Json:
    """The figures of a size under names of their own: its suffix behind what was done."""
    renamed = {}
    for name, value in figures.items():
        what, versus, peer = name.partition("_vs_")
        renamed[f"{what}{suffix}{versus}{peer}"] = value
    return renamed


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.peers", __doc__)
    known = [START, *PARTS]
    parser.add_argument("--only", default=",".join(known), help="parts, with commas")
    parser.add_argument("--sizes", default=",".join(SIZES), help="of the models, with commas")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lstm-serve"
    parser.add_argument("--cache", type=Path, default=cache, help="where llama-server is built")
    options = parse(parser, argv)
    parts, sizes = options.only.split(","), options.sizes.split(",")
    for name, allowed in [*((p, known) for p in parts), *((s, SIZES) for s in sizes)]:
        if name not in allowed:
            parser.error(f"{name!r} is unknown: choose from {', '.join(allowed)}")
    if options.save and (set(parts) != set(known) or set(sizes) != set(SIZES)):
        parser.error("--save keeps whole runs: leave out --only and --sizes")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("two cores are needed: one for a server, one for the load")
    program = llama_server(options.cache)
    benchmark = Benchmark("peers", options)
    plan = QUICK if options.quick else FULL
    figures: Json = {}
    for name in sizes:
        size = SIZES[name]
        found = measure(program, size, parts, plan, (cores[0], cores[-1]))
        figures |= with_suffix(found, size.suffix)
    benchmark.publish(
        figures,
        config={
            "llama_cpp_python": VERSION,
            "llama_flags": list(FLAGS),
            "llama_shapes": {name: asdict(SIZES[name].llama) for name in sizes},
            "models": {name: SIZES[name].ours.to_dict() for name in sizes},
            "cores": {"load": cores[0], "servers": cores[-1]},
            **asdict(plan),
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
