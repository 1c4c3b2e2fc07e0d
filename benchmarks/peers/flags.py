"""Which flags serve llama-server best: variants of them, each on a server of its own, in turn.

    python -m benchmarks.peers.flags [--quick] [--save] [--only one_stream,...] [--size 8m]

The first variant is what `benchmarks.peers` uses; every figure of another is shown as a ratio to
it, above 1 where the variant is better. Shapes of the Llama are variants too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import SHIPPED, Benchmark, Json, new_parser, parse
from benchmarks.load import Client, load_process
from benchmarks.peers.__main__ import words
from benchmarks.peers.asking import FULL, PARTS, QUICK, Figures, Server, Servers
from benchmarks.peers.llama_build import add_cache_option, llama_server
from benchmarks.peers.llama_model import LlamaShape, write_llama
from benchmarks.peers.llama_server import BODY, FLAGS_OF, running_llama
from benchmarks.peers.sizes import SIZES
from benchmarks.service_process import cores_of
from models.checkpoint import load_checkpoint

USED = "used"
# Flags given later win.
VARIANTS: dict[str, tuple[str, ...]] = {
    "plain attention": ("--flash-attn", "off", "--cache-type-v", "f16"),
    "f16 cache": ("--cache-type-k", "f16", "--cache-type-v", "f16"),
    "q8_0 cache": ("--cache-type-k", "q8_0", "--cache-type-v", "q8_0"),
    "f32 cache": ("--cache-type-k", "f32", "--cache-type-v", "f32"),
    "micro-batch 64": ("--ubatch-size", "64"),
    "micro-batch 128": ("--ubatch-size", "128"),
    "micro-batch 2048": ("--ubatch-size", "2048"),
    "no repacking": ("--no-repack",),
    "no polling": ("--poll", "0"),
    "sampling in the graph": ("--backend-sampling",),
    "reuse by shifting": ("--cache-reuse", "32"),
    "no prompt cache in memory": ("--cache-ram", "0"),
    "one HTTP thread": ("--threads-http", "1"),
    "one slot": ("--parallel", "1"),
    "one cache for all slots": ("--kv-unified",),
}
# In place of what is said to the server in every request.
BODIES: dict[str, Json] = {"all samplers": {}, "no reuse": {**BODY, "cache_prompt": False}}
SHAPES: dict[str, dict[str, LlamaShape]] = {
    "8m": {
        "8 layers of 256": LlamaShape(width=256, layers=8, heads=4, inner=672),
        "3 layers of 384": LlamaShape(width=384, layers=3, heads=6, inner=1024),
    },
    "25m": {},
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.peers.flags", __doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--size", choices=SIZES, default="8m", help="of the models (8m)")
    parser.add_argument("--variants", help="of the flags or shapes, with commas; all of them")
    parser.add_argument("--rounds", type=int, default=3, help="of each part (3)")
    add_cache_option(parser)
    options = parse(parser, argv)
    load_core, core = cores_of(parser)
    program = llama_server(options.cache)
    benchmark = Benchmark("peers_flags", options)
    plan = replace(QUICK if options.quick else FULL, rounds=options.rounds, conversations=1)
    shipped = load_checkpoint(SHIPPED)
    shapes = {USED: SIZES[options.size].llama, **SHAPES[options.size]}
    everything = [*VARIANTS, *BODIES, *shapes]
    wanted = options.variants.split(",") if options.variants else everything
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder, load_process(load_core) as executor:
        for name, shape in shapes.items():
            write_llama(Path(folder) / name, shape, shipped)
        for part in options.only.split(","):
            with ExitStack() as stack:
                members = {}
                for name in dict.fromkeys((USED, *wanted)):
                    model = Path(folder) / (name if name in shapes else USED)
                    flags = [*FLAGS_OF[part], *VARIANTS.get(name, ())]
                    running = running_llama(program, model, core=core, flags=flags)
                    server = stack.enter_context(running)
                    members[name] = Server(
                        client=Client(executor, server.port),
                        pid=server.pid,
                        body=BODIES.get(name, BODY),
                    )
                figures |= PARTS[part](Servers(members=members, vocab=words(SHIPPED)), plan)
    benchmark.publish(
        {**figures, **{f"{key}_better": _better(key, found) for key, found in figures.items()}},
        config={"flags": FLAGS_OF, "variants": VARIANTS, "size": options.size},
    )
    return 0


def _better(key: str, found: dict[str, float]) -> dict[str, float]:
    """By how much each variant is better than what is used."""
    rate = "_per_" in key
    return {
        name: value / found[USED] if rate else found[USED] / value for name, value in found.items()
    }


if __name__ == "__main__":
    sys.exit(main())
