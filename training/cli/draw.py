"""`lstm-train draw`"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "a part of large corpora, at random: passages of running text, lines of the rest"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE=CHARS",
        help="so many characters of this file; FILE@lines=CHARS: its lines stand by themselves",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of what is drawn")
    parser.add_argument("--seed", type=int, default=1, help="of the choice")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from training.draw import draw, parse_wanted

    for path, chars in draw(
        list(map(parse_wanted, options.files)), options.out, options.seed
    ).items():
        print(f"{path}: {chars:,} characters")
    return 0
