"""One command per stage: `lstm-train train`, `adapt`, `evaluate`, `prepare` and so on."""

from __future__ import annotations

import argparse
import errno
import sys

from training.cli import (
    adapt,
    compare,
    diagnose,
    draw,
    evaluate,
    export,
    ngram,
    prepare,
    study,
    train,
    widen,
)

_COMMANDS = (
    *(train, adapt, widen, evaluate, compare, export),
    *(prepare, draw, ngram, diagnose, study),
)
EXIT_INTERRUPTED = 130  # as a shell reports SIGINT


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and turn user mistakes into one clear line; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # Standard input with options, "-@lines", would pass for an option itself.
    typed = [f"./{each}" if each.startswith("-@") else each for each in arguments]
    options = _parser().parse_args(typed, argparse.Namespace(command=arguments))
    try:
        status: int = options.run(options)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"error: {error}{_advice(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted with nothing to save; repeat the command to begin again.")
        return EXIT_INTERRUPTED
    return status


def _advice(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "; the last save is whole: make room, then repeat the command with --resume"
    return ""


def _parser() -> argparse.ArgumentParser:
    # argparse, since an option must take several files: --corpus A B C
    parser = argparse.ArgumentParser(prog="lstm-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        name = command.__name__.rpartition(".")[2]
        command.add_options(commands.add_parser(name, help=command.HELP))
    return parser


if __name__ == "__main__":
    sys.exit(main())
