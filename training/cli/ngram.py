"""`python -m training ngram`"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.corpus import OPTIONS, Source, parse_source, read_sources

HELP = "word n-grams (modified Kneser-Ney) of a text, as an ARPA file"


def add_options(parser: argparse.ArgumentParser) -> None:
    sources = f"FILE or FILE@option,option of {OPTIONS}; .gz and .xz are read"
    parser.add_argument("--corpus", nargs="+", required=True, metavar="FILE", help=sources)
    parser.add_argument("--out", type=Path, required=True, help="ARPA file")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument(
        "--prune",
        nargs="+",
        type=int,
        default=[],
        metavar="COUNT",
        help="by order, leave out n-grams seen so often or less; the last one holds for the rest",
    )
    parser.add_argument(
        "--role", help="of dialogues, only the turns of this role: user, assistant, system"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from models.kneser_ney import estimate

    sources = [parse_source(own) for own in options.corpus]
    model = estimate(sentences(sources, options.role), options.order, prune=options.prune)
    with options.out.open("w", encoding="utf-8") as file:
        model.write_arpa(file)
    sizes = ", ".join(f"{len(own.words)}" for own in model.orders)
    print(f"{options.out}: n-grams of order 1 to {options.order}: {sizes}")
    return 0


def sentences(sources: Sequence[Source], role: str | None = None) -> Iterator[list[str]]:
    """The words of every line and every turn."""
    for document in read_sources(sources):
        texts = [document.text, *(t.content for t in document.turns if role in (None, t.role))]
        for text in texts:
            yield from (words for line in text.split("\n") if (words := line.split()))
