"""`lstm-serve rescore`: N-best lists and lattices of any size, re-ranked, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import click

from service.asr.carried import carry_context
from service.asr.formats import LATTICE_FORMATS, OUTPUTS, ReadOptions, open_writer, read_lattices
from service.asr.formats.htk_lattice import Writer as HtkWriter
from service.asr.formats.kaldi_lattice import Writer as KaldiWriter
from service.asr.formats.text_files import open_text
from service.asr.hypotheses import LM, NBestList
from service.asr.lattice import Lattice, PathWeights
from service.asr.lattice import nbest as lattice_nbest
from service.asr.lattice_rescoring import RescoringOptions, rescore_lattices
from service.asr.ranking import Ranker
from service.asr.scoring import ListScorer
from service.asr.settings import Mixture, RescoringSettings, load_settings
from service.asr.word_model import MixedModel, WordModel
from service.cli.model_option import model_options, open_model
from service.cli.nbest_options import (
    PATH,
    TEXT_FORM,
    nbest_options,
    open_lists,
    open_ngram,
    with_progress,
)
from service.language_model import LanguageModel


@click.command("rescore")
@nbest_options
@model_options
@click.option("--settings", type=PATH, help="weights from `lstm-serve tune`; the options go first")
@click.option("--lm-weight", type=float, help="factor of the model's ln P")
@click.option("--length-bonus", type=float, help="added for each word; negative is a penalty")
@click.option(
    "--weight",
    "weights",
    type=(str, float),
    multiple=True,
    metavar="NAME W",
    help="factor of a score that the lists bring (lm, graph, ...), or of ngram",
)
@click.option(
    "--mix",
    type=(str, float),
    metavar="NAME SHARE",
    help="mix the model word by word with ngram or word scores of the lists; SHARE: the model's",
)
@TEXT_FORM
@click.option("--hot-words", type=PATH, help="lines of a word or phrase and its weight in nats")
@click.option(
    "--carry-context", is_flag=True, help="the lists are running speech; each follows the last best"
)
@click.option("--top", type=click.IntRange(1), help="write only the best so many of each list")
@click.option(
    "--lattice",
    is_flag=True,
    help="rescore lattices as such, not the lists that are in them; see --merge",
)
@click.option(
    "--merge",
    type=click.IntRange(0),
    default=4,
    show_default=True,
    help="lattice: paths with the same last MERGE - 1 words are one; 0 keeps all apart",
)
@click.option("--beam", type=float, help="lattice: drop what is this much worse than the best path")
@click.option("--max-states", type=click.IntRange(1), default=64, show_default=True)
@click.option(
    "--to",
    "output",
    type=click.Choice((*OUTPUTS, *LATTICE_FORMATS)),
    default="text",
    show_default=True,
    help="text is `id words` of the best; the others hold the lists (or lattices) in their order",
)
@click.option("--out", type=PATH, default="-", help="file, or folder where --to is one of files")
def command(
    nbest: tuple[Path, ...],
    form: str,
    ngram: Path | None,
    model: str,
    precision: str,
    threads: int,
    settings: Path | None,
    lm_weight: float | None,
    length_bonus: float | None,
    weights: tuple[tuple[str, float], ...],
    mix: tuple[str, float] | None,
    text_form: str | None,
    hot_words: Path | None,
    output: str,
    out: Path,
    **options: Any,
) -> None:
    """Re-rank a recogniser's N-best lists, or the paths of its lattices.

    total = score + sum of WEIGHT * the lists' scores + LM_WEIGHT * ln P + LENGTH_BONUS * words.
    Scores are natural logarithms, whatever the format has them in. Without --settings and options,
    lists with a score `lm` are weighed lm 5, model 5, and a word -1: tune them.
    """
    try:
        chosen = _settings(settings, lm_weight, length_bonus, weights, mix, text_form)
        kenlm = open_ngram(ngram)
        hot = {} if hot_words is None else read_hot_words(hot_words)
        with open_model(model, precision, threads) as opened:
            if options["lattice"]:
                _rescore_lattices(opened, kenlm, chosen, nbest, form, output, out, options)
                return
            reading = ("beam_size", "manifest", "symbols", "list_size", "lattice_lm_scale")
            lists = open_lists(nbest, form, **{name: options[name] for name in reading})
            scorer = ListScorer(opened, kenlm, chosen.text_form)
            ranker = Ranker(chosen, hot)
            if options["carry_context"]:
                if kenlm is not None or chosen.mixture is not None:
                    raise click.UsageError("--carry-context goes with the model alone, no n-gram")
                ranked = carry_context(opened, lists, ranker, chosen.text_form)
                _write(ranked, output, out, options["top"])
                return
            # Closed before the model is: what is in work would wait for it for ever.
            with closing(scorer.stream(lists)) as scored:
                _write((ranker.rank(own) for own in scored), output, out, options["top"])
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from None


def _settings(
    path: Path | None,
    lm_weight: float | None,
    length_bonus: float | None,
    weights: tuple[tuple[str, float], ...],
    mix: tuple[str, float] | None,
    text_form: str | None,
) -> RescoringSettings:
    """The file's settings with the options over them."""
    if path is not None:
        own = load_settings(path)
    elif weights or lm_weight is not None:
        own = RescoringSettings()
    else:
        own = RescoringSettings(lm_weight=5.0, length_bonus=-1.0, weights={LM: 5.0})
    given: dict[str, Any] = {
        "lm_weight": lm_weight,
        "length_bonus": length_bonus,
        "weights": {**own.weights, **dict(weights)} if weights else None,
        "mixture": None if mix is None else Mixture(*mix),
        "text_form": text_form,
    }
    if mix is not None and not 0 <= mix[1] <= 1:
        raise click.BadParameter(f"the share is in 0..1, not {mix[1]}", param_hint="--mix")
    return replace(own, **{name: value for name, value in given.items() if value is not None})


def read_hot_words(path: Path) -> dict[str, float]:
    """`word or phrase<white space>weight` lines; ValueError names the line."""
    found = {}
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            *words, weight = line.split() or [""]
            try:
                if words:
                    found[" ".join(words)] = float(weight)
                elif weight:
                    raise ValueError
            except ValueError:
                raise ValueError(f"{path}, line {number}: is no 'word weight'") from None
    return found


def _write(lists: Iterable[NBestList], output: str, out: Path, top: int | None) -> None:
    if output in LATTICE_FORMATS:
        raise click.UsageError(f"--to {output} writes lattices: say --lattice")
    with open_writer(out, output) as writer:
        for own in with_progress(lists):
            writer.write(replace(own, hypotheses=own.hypotheses[:top]) if top else own)


def _rescore_lattices(
    model: LanguageModel,
    ngram: WordModel | None,
    settings: RescoringSettings,
    paths: Sequence[Path],
    form: str,
    output: str,
    out: Path,
    options: dict[str, Any],
) -> None:
    """Lattices in, lattices or lists out."""
    if form not in LATTICE_FORMATS:
        raise click.UsageError(f"--lattice needs --format {' or '.join(LATTICE_FORMATS)}")
    if settings.text_form != "as-is":
        raise click.UsageError("--text-form is for lists: a lattice's words are taken as they are")
    words: WordModel = model.words
    if settings.mixture is not None:
        if ngram is None:
            raise click.UsageError("the mixture of a lattice needs --ngram")
        words = MixedModel(model.words, ngram, settings.mixture.share)
    weights = PathWeights(
        lm=settings.weights.get(LM, 0.0),
        model=settings.lm_weight,
        length_bonus=settings.length_bonus,
    )
    expansion = RescoringOptions(
        merge=options["merge"] or None,
        beam=options["beam"],
        max_states=options["max_states"],
        weights=weights,
    )
    reading = ReadOptions(symbols=options["symbols"])
    lattices = chain.from_iterable(read_lattices(own, form, reading) for own in paths)
    rescored = rescore_lattices(lattices, words, expansion)
    if output in LATTICE_FORMATS:
        _write_lattices(rescored, output, out, weights)
        return
    ranker = Ranker(
        replace(settings, weights={LM: weights.lm, "model": weights.model}, lm_weight=0.0)
    )
    size = options["list_size"]
    lists = (ranker.rank(lattice_nbest(own, size, weights)) for own in rescored)
    _write(lists, output, out, options["top"])


def _write_lattices(
    lattices: Iterator[Lattice], output: str, out: Path, weights: PathWeights
) -> None:
    if output == "htk-lattice":
        if out == Path("-"):
            raise click.UsageError("--to htk-lattice is a folder of files: give --out FOLDER")
        folder = HtkWriter(out)
        for own in lattices:
            folder.write(own)
        return
    total = weights.lm + weights.model
    with open_text(out, "w") as file:
        writer = KaldiWriter(file, share=weights.model / total if total else 0.0)
        for own in lattices:
            writer.write(own)
