"""One command per stage: `python -m training train`, `python -m training evaluate`."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from pathlib import Path

from training.config import load_config, preset_names

EXIT_INTERRUPTED = 130  # as a shell reports SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and turn user mistakes into one clear line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments, argparse.Namespace(command=arguments))
    try:
        status: int = options.run(options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}{_advice(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted before the first step; repeat the command to begin again.")
        return EXIT_INTERRUPTED
    return status


def _advice(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "; the last save is whole: make room, then repeat the command with --resume"
    return ""


def _parser() -> argparse.ArgumentParser:
    # argparse, since an option must take several files: --corpus A B C
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_train(commands.add_parser("train", help="text -> tokenizer -> checkpoint"))
    _add_evaluate(commands.add_parser("evaluate", help="perplexity and bits per byte of a text"))
    _add_diagnose(commands.add_parser("diagnose", help="how far back in time a gradient reaches"))
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    sources = "FILE or FILE@options (lines, asr, asr=P, also-asr, repeat=N); .gz and .xz are read"
    parser.add_argument("--corpus", nargs="+", required=True, metavar="FILE", help=sources)
    parser.add_argument("--valid", nargs="+", required=True, metavar="FILE", help=sources)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--preset", default="cpu-small", help=", ".join(preset_names()))
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
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from training.distributed import say
    from training.run import RunRequest, run_training

    outcome = run_training(
        RunRequest(
            corpus=options.corpus,
            valid=options.valid,
            out=options.out,
            config=load_config(options.preset, options.overrides),
            tokenizer=options.tokenizer,
            init_from=options.init_from,
            resume=options.resume,
            device=options.device,
            processes=options.processes,
            license=options.license,
            command=options.command,
        )
    )
    if outcome.reason == "interrupted":
        say("interrupted; everything is saved. To go on, repeat the command with --resume.")
        return EXIT_INTERRUPTED
    say(f"{outcome.reason}: best validation loss {outcome.progress.best_loss:.4f} nats a token")
    say(f"checkpoint: {options.out}")
    return 0


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--text", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--restart-lines", action="store_true", help="forget at every line")
    parser.add_argument("--line-end", default="newline", choices=["newline", "eos"])
    parser.add_argument("--json", action="store_true", help="one JSON object, by file")
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from models.checkpoint import load_checkpoint
    from training.evaluate import evaluate_file, model_of

    checkpoint = load_checkpoint(options.model)
    model = model_of(checkpoint)
    results = {}
    for path in options.text:
        measure = evaluate_file(
            model,
            checkpoint.tokenizer,
            path,
            restart_lines=options.restart_lines,
            line_end=options.line_end,
        )
        results[str(path)] = measure.to_dict()
        if not options.json:
            print(
                f"{path}: {measure.bits_per_byte:.4f} bits per byte, "
                f"word perplexity {measure.word_perplexity:.2f}, "
                f"token perplexity {measure.token_perplexity:.2f}"
            )
    if options.json:
        print(json.dumps({"model": checkpoint.digest, "results": results}, indent=2))
    return 0


def _add_diagnose(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--model", type=Path, help="folder of a checkpoint")
    subject.add_argument("--preset", help=f"a fresh model: {', '.join(preset_names())}")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--text", type=Path, metavar="FILE", help="real text; random ids without")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--rows", type=int, default=16, help="places of the text to average over")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.set_defaults(run=_diagnose)


def _diagnose(options: argparse.Namespace) -> int:
    from training.diagnostics import draw_reach, gradient_reach, memory_span, subject_and_ids

    name, model, ids = subject_and_ids(
        options.model,
        None if options.preset is None else load_config(options.preset, options.overrides),
        options.text,
        (options.steps + 1, options.rows),
    )
    reach = gradient_reach(model, ids)
    draw_reach({name: reach}, options.out)
    print(
        f"{name}: the gradient is above 1% of its first norm up to {memory_span(reach)} steps "
        f"back, and at {len(reach)} steps {reach[-1] / reach[0]:.2g} of it; drawn in {options.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
