"""`python -m training study`"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "the textbook experiments on recurrent networks, in some minutes"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder of the page")
    parser.add_argument(
        "--text", type=Path, metavar="FILE", help="train on it, not on Python's own manual"
    )
    parser.add_argument("--quick", action="store_true", help="see that it runs, believe nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from training.study.run import Budget, run_study

    quick = Budget(
        compare_tokens=4000,
        truncation_tokens=2000,
        truncation_lengths=(8, 32),
        explosion_steps=30,
    )
    findings = run_study(options.out, options.text, quick if options.quick else Budget())
    for finding in findings:
        print(f"{'as expected    ' if finding.holds else 'NOT as expected'} {finding.title}")
    print(f"page: {options.out / 'README.md'}")
    return 0
