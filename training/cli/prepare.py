"""`lstm-train prepare`"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.corpus import OPTIONS

_RECIPES = ("english", "english-asr", "russian")
HELP = "what a corpus holds, and a validation part taken off it; or a shipped model's corpora"


def add_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--corpus", nargs="+", metavar="FILE", help=f"your own, with @option,option of {OPTIONS}"
    )
    what.add_argument("--recipe", choices=_RECIPES, help="of a shipped model")
    parser.add_argument("--data", type=Path, help="of a recipe: folder of the corpora")
    parser.add_argument("--out", type=Path, help="folder of what is prepared")
    parser.add_argument("--text-key", default="text", help="of .jsonl: the key of the text")
    parser.add_argument("--column", default="", help="of tables: the column of the text")
    parser.add_argument("--dedupe", action="store_true", help="drop documents that came before")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    if options.recipe:
        return _run_recipe(options)
    from training.corpus import Source, parse_sources
    from training.prepared_files import write_parts

    default = Source(path=Path(), key=options.text_key, column=options.column)
    sources = parse_sources(options.corpus, default)
    facts = write_parts(sources, options.out, dedupe=options.dedupe)
    print(facts.describe())
    for sample in facts.samples:
        print(f"  begins: {sample[:100]!r}")
    if options.out is not None:
        print(
            f"now: lstm-train train --corpus {options.out / 'train.jsonl'} "
            f"--valid {options.out / 'valid.jsonl'} --out ..."
        )
    return 0


def _run_recipe(options: argparse.Namespace) -> int:
    from training.recipes.english import english
    from training.recipes.english_asr import english_asr
    from training.recipes.recipe import prepare
    from training.recipes.russian import russian

    if options.data is None or options.out is None:
        raise ValueError("--recipe needs --data, the folder of the corpora, and --out")
    recipe = dict(zip(_RECIPES, (english, english_asr, russian), strict=True))[options.recipe]
    sources = prepare(recipe, options.data, options.out)
    for role, named in sources.items():
        print(f"{role}: {len(named)} sources")
    print(
        f"now: lstm-train train --corpus $(cat {options.out}/train.sources) "
        f"--valid $(cat {options.out}/valid.sources) --out ..."
    )
    return 0
