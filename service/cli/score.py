"""`lstm-serve score`: texts of a file of any size, in constant memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from service.asr.formats.text_files import STDIO
from service.cli.cluster_options import cluster_options, run_on_cluster
from service.cli.model_option import model_options, open_model
from service.scored_lines import ScoringJob, score_file, score_files
from service.text.score_figures import Detail


@click.command("score")
@click.argument("files", metavar="[FILE]...", type=click.Path(path_type=Path), nargs=-1)
@model_options
@click.option("--context", default="", help="text before every text; conditions it, not scored")
@click.option("--bos/--no-bos", default=True, show_default=True, help="begin-of-sequence before it")
@click.option("--eos/--no-eos", default=True, show_default=True, help="score end-of-sequence too")
@click.option(
    "--detail",
    type=click.Choice(["totals", "words", "tokens"]),
    default="totals",
    show_default=True,
    help="what to tell of each text",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "tsv"]),
    default="jsonl",
    show_default=True,
    help="a JSON object a text, or a table with a line a word (needs --detail words) or token",
)
@click.option(
    "--word-ends",
    type=click.Choice(["next", "own"]),
    default="next",
    show_default=True,
    help="whether a word's end counts for the word after it, with the white space, or for itself; "
    "'own' is for studies of reading, needs --format tsv and --detail words",
)
@click.option("--output", type=click.Path(path_type=Path), default="-", show_default=True)
@cluster_options
def command(
    files: tuple[Path, ...],
    model: str,
    precision: str,
    threads: int,
    context: str,
    bos: bool,
    eos: bool,
    detail: Detail,
    form: str,
    word_ends: str,
    output: Path,
    **cluster: Any,
) -> None:
    """How probable each text of FILE is (standard input by default): a text a line.

    Lines that are JSON objects are taken by their "text"; their other fields come back in the
    answer. Logarithms are natural; the surprisal of a table is in bits. A word is what stands
    between white space, with the white space before it: punctuation belongs to its word, and the
    first word is conditioned on begin-of-sequence.
    """
    try:
        job = ScoringJob(
            context=context,
            bos=bos,
            eos=eos,
            detail=detail,
            table=form == "tsv",
            ends_of_words=word_ends == "own",
        )
        if cluster["workers"] is not None:
            work, ending = partial(score_file, job=job), ".tsv" if job.table else ".jsonl"
            run_on_cluster(work, model, precision, threads, files, output, ending, cluster)
            return
        with open_model(model, precision, threads) as opened:
            score_files(opened, files or (STDIO,), output, job)
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from None
