"""`lstm-train export`"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "a checkpoint as ONNX graphs: plain ones, or for sherpa-onnx"
_FORMATS = ("onnx", "sherpa-onnx", "sherpa-onnx-online")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="onnx",
        help="plain graphs, checked against the network; sherpa-onnx's for rescoring; or for its "
        "shallow fusion while it decodes",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the graphs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from models.checkpoint import load_checkpoint
    from training.export import SEQUENCE, STEP, export
    from training.export_sherpa import MODEL, export_sherpa

    checkpoint = load_checkpoint(options.model)
    if options.format != "onnx":
        export_sherpa(checkpoint, options.format, options.out)
        print(f"{options.out / MODEL}: {options.format}")
        return 0
    distance = export(checkpoint, options.out)
    print(
        f"{options.out / STEP}, {options.out / SEQUENCE}: at most {distance:.1g} nats away from "
        "the network, in ONNX Runtime"
    )
    return 0
