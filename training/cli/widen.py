"""`python -m training widen`"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "a checkpoint with wider layers that answers as before, to train on from"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--hidden-sizes", type=int, nargs="+", required=True, metavar="WIDTH")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new checkpoint")
    parser.add_argument("--seed", type=int, default=1, help="of the new units' weights")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    import torch

    from models.checkpoint import load_checkpoint, save_checkpoint
    from training.widen import widen

    torch.manual_seed(options.seed)
    save_checkpoint(widen(load_checkpoint(options.model), options.hidden_sizes), options.out)
    print(f"checkpoint: {options.out}")
    return 0
