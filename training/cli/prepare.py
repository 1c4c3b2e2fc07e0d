"""`python -m training prepare`"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "public corpora -> the files a shipped model is trained on"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", required=True, choices=["english", "russian"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--out", type=Path, required=True, help="folder of what is prepared")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from training.recipes.english import english
    from training.recipes.recipe import prepare
    from training.recipes.russian import russian

    recipe = {"english": english, "russian": russian}[options.recipe]
    sources = prepare(recipe, options.data, options.out)
    for role, named in sources.items():
        print(f"{role}: {len(named)} sources")
    print(
        f"now: python -m training train --corpus $(cat {options.out}/train.sources) "
        f"--valid $(cat {options.out}/valid.sources) --out ..."
    )
    return 0
