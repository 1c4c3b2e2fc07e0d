"""`lstm-train adapt`"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.corpus import OPTIONS

HELP = "a trained model and a little text of a domain -> a model of that domain, in minutes"
_INTERRUPTED = 130  # as a shell reports SIGINT


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--base", required=True, help="a shipped model's name or a folder")
    parser.add_argument(
        "--corpus", nargs="+", required=True, metavar="FILE", help=f"FILE@option of {OPTIONS}"
    )
    parser.add_argument("--valid", nargs="+", default=[], metavar="FILE", help="held-out text")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument(
        "--mix",
        nargs="+",
        default=[],
        metavar="FILE",
        help='text of the base\'s sort, or "self" for some that it makes up, against forgetting',
    )
    parser.add_argument("--mix-share", type=float, default=0.3, help="of all training text")
    parser.add_argument("--words", type=Path, metavar="FILE", help="one a line: show what changes")
    parser.add_argument("--minutes", type=float, default=6.0, help="that training may take")
    parser.add_argument("--rate", type=float, help="learning rate; found by trials without it")
    parser.add_argument("--epochs", type=float, help="passes; by corpus and --minutes without")
    parser.add_argument("--license", default="", help="of the text, for the model card")
    parser.add_argument("--text-key", default="text", help="of .jsonl: the key of the text")
    parser.add_argument("--column", default="", help="of tables: the column of the text")
    parser.add_argument("--dedupe", action="store_true", help="drop documents that came before")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from training.adapt import AdaptRequest, adapt, find_base
    from training.distributed import say

    if not 0 < options.mix_share < 1:
        raise ValueError(f"--mix-share {options.mix_share} must lie between 0 and 1")
    adapted = adapt(
        AdaptRequest(
            base=find_base(options.base),
            corpus=options.corpus,
            valid=options.valid,
            out=options.out,
            mix=options.mix,
            mix_share=options.mix_share,
            words=options.words,
            minutes=options.minutes,
            rate=options.rate,
            epochs=options.epochs,
            license=options.license,
            text_key=options.text_key,
            column=options.column,
            dedupe=options.dedupe,
            command=options.command,
        )
    )
    say(f"checkpoint: {options.out}; to serve it: lstm-serve serve --model {options.out}")
    return _INTERRUPTED if adapted.outcome.reason == "interrupted" else 0
