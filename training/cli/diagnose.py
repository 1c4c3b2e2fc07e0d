"""`python -m training diagnose`"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.config import load_config, preset_names

HELP = "how far back in time a gradient reaches"


def add_options(parser: argparse.ArgumentParser) -> None:
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--model", type=Path, help="folder of a checkpoint")
    subject.add_argument("--preset", help=f"a fresh model: {', '.join(preset_names())}")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--text", type=Path, metavar="FILE", help="real text; random ids without")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--rows", type=int, default=16, help="places of the text to average over")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
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
