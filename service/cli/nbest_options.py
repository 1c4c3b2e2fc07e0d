"""What `rescore` and `tune` share: which lists, in which format, and how they are asked about."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from service.asr.formats import FORMATS, ReadOptions, read_lists
from service.asr.hypotheses import NBestList
from service.asr.kenlm_model import KenlmModel
from service.asr.lattice import PathWeights
from service.asr.text_forms import TextForm

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
_EVERY_S = 1.0


def nbest_options(command: F) -> F:
    """The options that say what is read."""
    for option in reversed(
        (
            click.option(
                "--nbest",
                type=PATH,
                required=True,
                multiple=True,
                help="file or folder of lists, - for stdin; again for further ones",
            ),
            click.option(
                "--format", "form", type=click.Choice(FORMATS), default="jsonl", show_default=True
            ),
            click.option("--beam-size", type=click.IntRange(1), help="nemo: rows an utterance"),
            click.option("--manifest", type=PATH, help="nemo: ids and references, JSON lines"),
            click.option("--symbols", type=PATH, help="kaldi-lattice: words.txt"),
            click.option(
                "--list-size",
                type=click.IntRange(1),
                default=100,
                show_default=True,
                help="hypotheses taken from each lattice",
            ),
            click.option(
                "--lattice-lm-scale",
                type=float,
                default=1.0,
                show_default=True,
                help="of the lattice's own scores, where they choose those hypotheses",
            ),
            click.option(
                "--ngram", type=PATH, help="n-gram model, ARPA or KenLM's binary (extra kenlm)"
            ),
        )
    ):
        command = option(command)
    return command


TEXT_FORM = click.option(
    "--text-form",
    type=click.Choice(get_args(TextForm)),
    help="what the model is asked about: the text as it is; lower case without punctuation; "
    "or with a capital and a full stop",
)


def read_options(
    beam_size: int | None,
    manifest: Path | None,
    symbols: Path | None,
    list_size: int,
    lattice_lm_scale: float,
) -> ReadOptions:
    """What the formats are told."""
    return ReadOptions(
        beam_size=beam_size,
        manifest=manifest,
        symbols=symbols,
        nbest=list_size,
        path_weights=PathWeights(lm=lattice_lm_scale),
    )


def open_lists(nbest: Sequence[Path], form: str, **reading: Any) -> Iterator[NBestList]:
    """The lists that the options name, read as they are taken."""
    options = read_options(**reading)
    return chain.from_iterable(read_lists(own, form, options) for own in nbest)


def open_ngram(path: Path | None) -> KenlmModel | None:
    """The n-gram model, if one is named."""
    return None if path is None else KenlmModel(path)


def with_progress(lists: Iterable[NBestList]) -> Iterator[NBestList]:
    """The lists, counted on standard error once a second where that is a terminal, and once at
    the end."""
    begun = told = time.monotonic()
    num_lists = num_hypotheses = 0
    shows = sys.stderr.isatty()
    for own in lists:
        yield own
        num_lists, num_hypotheses = num_lists + 1, num_hypotheses + len(own.hypotheses)
        now = time.monotonic()
        if shows and now - told > _EVERY_S:
            told = now
            click.echo(f"\r{_rate(num_lists, num_hypotheses, now - begun)}", nl=False, err=True)
    took = time.monotonic() - begun
    click.echo(f"{chr(13) if shows else ''}{_rate(num_lists, num_hypotheses, took)}", err=True)


def _rate(num_lists: int, num_hypotheses: int, seconds: float) -> str:
    rate = num_hypotheses / seconds if seconds > 0 else 0.0
    return f"{num_lists} lists, {num_hypotheses} hypotheses in {seconds:.1f} s, {rate:.0f}/s"
