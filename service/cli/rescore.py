"""`lstm-serve rescore`: N-best lists and lattices of any size, re-ranked, in constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from service.asr.formats import LATTICE_FORMATS, OUTPUTS
from service.asr.formats.text_files import FormatError, number, numbered_lines
from service.asr.hypotheses import LM
from service.asr.lattice import PathWeights
from service.asr.lattice_rescoring import RescoringOptions
from service.asr.rescoring_job import RescoringJob, rescore_file
from service.asr.settings import Mixture, RescoringSettings, load_settings, untuned_settings
from service.cli.cluster_options import cluster_options, run_on_cluster
from service.cli.model_option import model_options, open_model
from service.cli.nbest_options import (
    PATH,
    TEXT_FORM,
    nbest_options,
    read_options,
    with_progress,
)

# Of the files of --workers; what is not named is a folder.
_ENDINGS = {
    "text": ".txt",
    "jsonl": ".jsonl",
    "nemo": ".tsv",
    "mlm-scoring": ".json",
    "kaldi-lattice": ".txt",
}


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
@cluster_options
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
    Scores are natural logarithms, whatever the format has them in. Without --settings and weights,
    lists with a score `lm` are weighed 5 for that and whatever goes with it, model 5, and a word
    -1; those with a composite score alone, model 0.5: tune them.
    """
    reading = ("beam_size", "manifest", "symbols", "list_size", "lattice_lm_scale")
    try:
        given = _given(lm_weight, length_bonus, weights, mix, text_form)
        is_untuned = settings is None and lm_weight is None and not weights
        chosen = _settings(settings, given, is_untuned=is_untuned)
        job = RescoringJob(
            form=form,
            reading=read_options(**{name: options[name] for name in reading}),
            settings=chosen,
            untuned=given if is_untuned else None,
            ngram=ngram,
            hot_words={} if hot_words is None else read_hot_words(hot_words),
            carries_context=options["carry_context"],
            lattice=_expansion(chosen, options) if options["lattice"] else None,
            output=output,
            top=options["top"],
        )
        if options["workers"] is not None:
            if job.reading.manifest is not None:
                raise ValueError("--manifest is of one file: not with --workers")
            work, ending = partial(rescore_file, job=job), _ENDINGS.get(output, "")
            run_on_cluster(work, model, precision, threads, nbest, out, ending, options)
            return
        with open_model(model, precision, threads) as opened:
            job.run(opened, nbest, out, with_progress)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from None


def _expansion(settings: RescoringSettings, options: dict[str, Any]) -> RescoringOptions:
    """How lattices are expanded."""
    weights = PathWeights(
        lm=settings.weights.get(LM, 0.0),
        model=settings.lm_weight,
        length_bonus=settings.length_bonus,
    )
    return RescoringOptions(
        merge=options["merge"] or None,
        beam=options["beam"],
        max_states=options["max_states"],
        weights=weights,
    )


def _settings(
    path: Path | None, given: Mapping[str, Any], *, is_untuned: bool
) -> RescoringSettings:
    """The file's settings, or those to begin with, with the options over them."""
    if path is not None:
        own = load_settings(path)
    else:
        own = untuned_settings({LM}) if is_untuned else RescoringSettings()
    if "weights" in given:
        given = {**given, "weights": {**own.weights, **given["weights"]}}
    return replace(own, **given)


def _given(
    lm_weight: float | None,
    length_bonus: float | None,
    weights: tuple[tuple[str, float], ...],
    mix: tuple[str, float] | None,
    text_form: str | None,
) -> dict[str, Any]:
    """The fields of settings that options name."""
    if mix is not None and not 0 <= mix[1] <= 1:
        raise click.BadParameter(f"the share is in 0..1, not {mix[1]}", param_hint="--mix")
    fields = {
        "lm_weight": lm_weight,
        "length_bonus": length_bonus,
        "weights": dict(weights) or None,
        "mixture": None if mix is None else Mixture(*mix),
        "text_form": text_form,
    }
    return {name: value for name, value in fields.items() if value is not None}


def read_hot_words(path: Path) -> dict[str, float]:
    """`word or phrase<white space>weight` lines; FormatError names the line."""
    found = {}
    for line, text in numbered_lines(path):
        *words, weight = text.split()
        if not words:
            raise FormatError(path, line, "is no 'word weight'")
        found[" ".join(words)] = number(weight, path, line, "the weight")
    return found
