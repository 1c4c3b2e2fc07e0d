"""`lstm-train compare`"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

HELP = "two models on the same text, with a test of significance"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs=2, type=Path, metavar="MODEL", help="folder of a checkpoint"
    )
    parser.add_argument("--text", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--restart-lines", action="store_true", help="every line on its own")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from models.checkpoint import load_checkpoint
    from training.compare import compare

    first, second = map(load_checkpoint, options.models)
    found = compare(first, second, options.text, restart_lines=options.restart_lines)
    if options.json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
        return 0
    for folder, bits in zip(options.models, (found.first, found.second), strict=True):
        print(f"{folder}: {bits:.4f} bits per byte")
    if found.p_value < 0.05:
        better = options.models[0 if found.first < found.second else 1]
        verdict = f"{better} is better, and not by chance"
    else:
        verdict = "the difference may be chance"
    print(
        f"difference {found.first - found.second:+.4f} (95% interval {found.low:+.4f} to "
        f"{found.high:+.4f}), p = {found.p_value:.4f} over {found.documents} documents, of which "
        f"the first model is better on {found.wins}: {verdict}"
    )
    return 0
