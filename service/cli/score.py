"""`lstm-serve score`: texts of a file of any size, in constant memory."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from typing import IO, Any, TypeVar

import click

from service.cli.model_option import model_options, open_model
from service.language_model import LanguageModel
from service.results import ScoredToken, ScoredWord, TextScore

T = TypeVar("T")

_AT_ONCE = 256  # texts of one request to the engine: enough to fill its batches
_IN_FLIGHT = 2  # requests: one is read and written while the other is computed


@click.command("score")
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
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
@click.option("--output", type=click.File("w", encoding="utf-8", lazy=True), default="-")
def command(
    file: IO[str],
    model: str,
    precision: str,
    threads: int,
    context: str,
    bos: bool,
    eos: bool,
    detail: str,
    form: str,
    word_ends: str,
    output: IO[str],
) -> None:
    """How probable each text of FILE is (standard input by default): a text a line.

    Lines that are JSON objects are taken by their "text"; their other fields come back in the
    answer. Logarithms are natural; the surprisal of a table is in bits. A word is what stands
    between white space, with the white space before it: punctuation belongs to its word, and the
    first word is conditioned on begin-of-sequence.
    """
    if form == "tsv" and detail == "totals":
        raise click.UsageError("--format tsv is a table of words or tokens: say --detail words")
    if word_ends == "own" and (form, detail, bos) != ("tsv", "words", True):
        raise click.UsageError("--word-ends own needs --format tsv, --detail words and --bos")
    with open_model(model, precision, threads) as opened:
        if word_ends == "own":
            words = (opened.surprisals(each["text"], context=context) for each in _texts(file))
            for line in _table_lines((_cells(each) for each in words), "word"):
                output.write(line + "\n")
            return
        options = {"context": context, "bos": bos, "eos": eos, "detail": detail}
        rows = _scored(opened, _texts(file), options)
        lines = (
            _json_lines(rows)
            if form == "jsonl"
            else _table_lines(
                (
                    _cells((score.words if detail == "words" else score.tokens) or ())
                    for _, score in rows
                ),
                detail.removesuffix("s"),
            )
        )
        for line in lines:
            output.write(line + "\n")


def _texts(file: IO[str]) -> Iterator[dict[str, Any]]:
    """A mapping with "text" for each line; a ClickException names a line that has none."""
    for number, line in enumerate(file, start=1):
        text = line.rstrip("\r\n")
        if not text.startswith("{"):
            yield {"text": text}
            continue
        try:
            given = json.loads(text)
        except ValueError:
            yield {"text": text}  # a text may begin with a brace
            continue
        if not isinstance(given.get("text"), str):
            raise click.ClickException(f"line {number}: the JSON object has no string 'text'")
        yield given


def _scored(
    model: LanguageModel, texts: Iterable[dict[str, Any]], options: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], TextScore]]:
    """Every text with its score, in order; so many are in memory at a time as keep it busy."""
    waiting: deque[tuple[list[dict[str, Any]], Future[list[TextScore]]]] = deque()
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        for chunk in _chunks(texts, _AT_ONCE):
            scores = pool.submit(model.scores, [each["text"] for each in chunk], **options)
            waiting.append((chunk, scores))
            if len(waiting) > _IN_FLIGHT:
                done, found = waiting.popleft()
                yield from zip(done, found.result(), strict=True)
        for done, found in waiting:
            yield from zip(done, found.result(), strict=True)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _json_lines(rows: Iterable[tuple[dict[str, Any], TextScore]]) -> Iterator[str]:
    for given, score in rows:
        figures = {name: value for name, value in asdict(score).items() if value is not None}
        yield json.dumps({**given, **figures}, ensure_ascii=False, allow_nan=False)


_Cells = list[tuple[str, int, int, float | None]]


def _cells(parts: Sequence[ScoredWord | ScoredToken]) -> _Cells:
    return [
        (
            each.word if isinstance(each, ScoredWord) else each.token,
            each.start,
            each.end,
            each.logprob,
        )
        for each in parts
    ]


def _table_lines(texts: Iterable[_Cells], part: str) -> Iterator[str]:
    """A head and a line for each word or token. part: what they are."""
    yield "\t".join(("text", "index", part, "start", "end", "logprob", "surprisal_bits"))
    for number, cells in enumerate(texts):
        for index, (name, start, end, logprob) in enumerate(cells):
            told = ("", "") if logprob is None else (f"{logprob:.6f}", f"{_bits(logprob):.6f}")
            yield "\t".join(map(str, (number, index, _cell(name), start, end, *told)))


def _bits(logprob: float) -> float:
    return -logprob / math.log(2)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
