"""`lstm-train train`"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from training.config import AUTO, preset_names
from training.corpus import OPTIONS

HELP = "text -> tokenizer -> checkpoint"
_INTERRUPTED = 130  # as a shell reports SIGINT


def add_options(parser: argparse.ArgumentParser) -> None:
    sources = (
        "files (text, .jsonl, .json, .csv, .tsv, .parquet, packed or not), folders, patterns or - "
        f"(standard input), each with @option,option of {OPTIONS}"
    )
    parser.add_argument("--corpus", nargs="+", required=True, metavar="FILE", help=sources)
    parser.add_argument(
        "--valid",
        nargs="+",
        default=[],
        metavar="FILE",
        help="text to choose the best model by; without it a part of the corpus is taken off",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument(
        "--preset",
        default=AUTO,
        help=f"{AUTO} (fits the corpus), {', '.join(preset_names())}",
    )
    parser.add_argument("--epochs", type=float, metavar="N", help="passes over the corpus")
    parser.add_argument(
        "--minutes", type=float, metavar="N", help="that training may take: fewer passes if need be"
    )
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="overrides"
    )
    parser.add_argument("--tokenizer", type=Path, help="use this .model file, train none")
    parser.add_argument(
        "--init-from", type=Path, metavar="CHECKPOINT", help="adapt this model; keeps its tokenizer"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last save")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="for tokenising")
    parser.add_argument("--license", default="not stated", help="of the data, for the model card")
    parser.add_argument("--text-key", default="text", help="of .jsonl: the key of the text")
    parser.add_argument("--column", default="", help="of tables: the column of the text")
    parser.add_argument("--dedupe", action="store_true", help="drop documents that came before")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from training.distributed import say
    from training.run import run_training
    from training.run_request import RunRequest, Settings

    overrides = [*options.overrides]
    if options.epochs is not None:
        overrides.append(f"loop.epochs={options.epochs}")
    if options.minutes is not None:
        overrides.append(f"loop.minutes={options.minutes}")
    outcome = run_training(
        RunRequest(
            corpus=options.corpus,
            valid=options.valid,
            out=options.out,
            config=Settings(options.preset, overrides),
            tokenizer=options.tokenizer,
            init_from=options.init_from,
            resume=options.resume,
            device=options.device,
            processes=options.processes,
            license=options.license,
            command=options.command,
            dedupe=options.dedupe,
            text_key=options.text_key,
            column=options.column,
        )
    )
    if outcome.reason == "interrupted":
        say("interrupted; everything is saved. To go on, repeat the command with --resume.")
        return _INTERRUPTED
    say(f"{outcome.reason}: best validation loss {outcome.progress.best_loss:.4f} nats a token")
    say(f"checkpoint: {options.out}")
    return 0
