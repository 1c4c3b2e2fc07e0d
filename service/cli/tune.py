"""`lstm-serve tune`: weights from lists whose references are known, and what they are worth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from service.asr.formats.text_files import FormatError, keyed_lines
from service.asr.hypotheses import NBestList
from service.asr.scoring import ListScorer
from service.asr.spelling import spelling_fault
from service.asr.tuning_data import build_data
from service.asr.tuning_report import Report, describe, to_settings, tune
from service.cli.model_option import model_options, open_model
from service.cli.nbest_options import (
    PATH,
    TEXT_FORM,
    nbest_options,
    open_lists,
    open_ngram,
    with_progress,
)


@click.command("tune")
@nbest_options
@model_options
@TEXT_FORM
@click.option(
    "--reference", type=PATH, help="what was said, `id words` a line; else from the lists"
)
@click.option(
    "--speakers", type=PATH, help="`id speaker` a line (utt2spk): cross-validate by speaker"
)
@click.option("--by-speaker", is_flag=True, help="the same, speakers from the lists")
@click.option("--folds", type=click.IntRange(2), default=10, show_default=True)
@click.option("--out", type=PATH, help="settings file for `rescore --settings`")
@click.option("--json", "as_json", is_flag=True, help="the report as one JSON object")
def command(
    nbest: tuple[Path, ...],
    form: str,
    ngram: Path | None,
    model: str,
    precision: str,
    threads: int,
    text_form: str | None,
    reference: Path | None,
    speakers: Path | None,
    by_speaker: bool,
    folds: int,
    out: Path | None,
    as_json: bool,
    **reading: Any,
) -> None:
    """Find the weights for rescoring on development lists, and say honestly what they bring.

    Scores are computed once. Which models take part is chosen by cross-validation, inside the
    cross-validation that measures the gain; the control is what the lists bring, retuned.
    """
    text = text_form or "as-is"
    try:
        lists = list(open_lists(nbest, form, **reading))
        references = _references(lists, reference)
        if (fault := spelling_fault(lists, references)) is not None:
            click.echo(f"warning: {fault}", err=True)
        lists = _with_speakers(lists, speakers)
        kenlm = open_ngram(ngram)
        with open_model(model, precision, threads) as opened:
            scorer = ListScorer(opened, kenlm, text)  # type: ignore[arg-type]
            scored = list(with_progress(scorer.stream(lists)))
            about = {"model": {"name": opened.facts.name, "digest": opened.facts.digest}}
        data = build_data(scored, references, by_speaker=by_speaker or speakers is not None)
        report = tune(data, folds)
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from None
    _tell(report, as_json=as_json)
    if out is not None:
        settings = to_settings(report.recommended, data, text)  # type: ignore[arg-type]
        replace(settings, about={**about, "report": report.to_dict()}).save(out)
        click.echo(f"settings: {out}", err=True)


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    for line in describe(report):
        click.echo(line)


def _references(lists: list[NBestList], path: Path | None) -> dict[str, str]:
    """Of the file, or those that the lists bring."""
    if path is not None:
        return _keyed(path)
    found = {own.id: own.reference for own in lists if own.reference is not None}
    if not found:
        raise ValueError("the lists bring no references: give --reference FILE")
    return found


def _with_speakers(lists: list[NBestList], path: Path | None) -> list[NBestList]:
    if path is None:
        return lists
    speaker = _keyed(path)
    return [replace(own, speaker=speaker.get(own.id)) for own in lists]


def _keyed(path: Path) -> dict[str, str]:
    """`id words` lines, as Kaldi's text and utt2spk; FormatError names an id that occurs twice."""
    found: dict[str, str] = {}
    for line, key, value in keyed_lines(path):
        if key in found:
            raise FormatError(path, line, f"{key!r} occurs twice")
        found[key] = " ".join(value.split())
    return found
