"""`lstm-train export`"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "a checkpoint as plain ONNX graphs, checked against the network"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder of the graphs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from models.checkpoint import load_checkpoint
    from training.export import SEQUENCE, STEP, export

    distance = export(load_checkpoint(options.model), options.out)
    print(
        f"{options.out / STEP}, {options.out / SEQUENCE}: at most {distance:.1g} nats away from "
        "the network, in ONNX Runtime"
    )
    return 0
