"""Texts of a file of any size, a text a line, and what `lstm-serve score` writes of them."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from service.asr.formats.json_values import parse_json
from service.asr.formats.text_files import STDIO, FormatError, all_lines, open_text
from service.language_model import LanguageModel
from service.results import ScoredToken, ScoredWord, TextScore
from service.text.score_figures import Detail

T = TypeVar("T")
Line = tuple[Path, int, str]  # its file, its number there from 1, its text

_AT_ONCE = 256  # texts of one request to the engine: enough to fill its batches
_IN_FLIGHT = 2  # requests: one is read and written while the other is computed


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """What is told of each text, and how it is asked about: the options of `lstm-serve score`.

    table: a line for each word or token in place of a JSON object for each text. ends_of_words:
    a word's end counts for itself; see `service.text.surprisal`. ValueError for what cannot go
    together.
    """

    context: str = ""
    bos: bool = True
    eos: bool = True
    detail: Detail = "totals"
    table: bool = False
    ends_of_words: bool = False

    def __post_init__(self) -> None:
        if self.table and self.detail == "totals":
            raise ValueError("--format tsv is a table of words or tokens: say --detail words")
        if self.ends_of_words and not (self.table and self.detail == "words" and self.bos):
            raise ValueError("--word-ends own needs --format tsv, --detail words and --bos")

    def run(self, model: LanguageModel, lines: Iterable[Line]) -> Iterator[str]:
        """The lines to be written, in the order of the texts; FormatError names a bad line."""
        texts = _texts(lines)
        if self.ends_of_words:
            words = (model.surprisals(each["text"], context=self.context) for each in texts)
            return _table_lines((_cells(each) for each in words), "word")
        rows = self._scored(model, texts)
        if not self.table:
            return _json_lines(rows)
        parts = (score.words if self.detail == "words" else score.tokens for _, score in rows)
        return _table_lines((_cells(each or ()) for each in parts), self.detail.removesuffix("s"))

    def _scored(
        self, model: LanguageModel, texts: Iterable[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], TextScore]]:
        """Every text with its score, in order; so many are in memory at a time as keep it busy."""
        options: dict[str, Any] = {
            "context": self.context,
            "bos": self.bos,
            "eos": self.eos,
            "detail": self.detail,
        }
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


def score_files(
    model: LanguageModel, sources: Sequence[Path], target: Path, job: ScoringJob
) -> None:
    """The texts of `sources`, one after another, to `target`. ValueError, OSError."""
    lines = chain.from_iterable(_lines(own) for own in sources)
    file = open_text(target, "w")
    with nullcontext() if target == STDIO else file:
        for line in job.run(model, lines):
            file.write(line + "\n")


def score_file(model: LanguageModel, source: Path, target: Path, job: ScoringJob) -> None:
    """As `score_files`, of one."""
    score_files(model, [source], target, job)


def _lines(path: Path) -> Iterator[Line]:
    return ((path, number, text) for number, text in all_lines(path))


def _texts(lines: Iterable[Line]) -> Iterator[dict[str, Any]]:
    """A mapping with "text" for each line; FormatError for an object that has none."""
    for path, number, text in lines:
        given = _parsed(text, path, number) if text.startswith("{") else None
        if given is None:
            yield {"text": text}
        elif isinstance(given.get("text"), str):
            yield given
        else:
            raise FormatError(path, number, "the JSON object has no string 'text'")


def _parsed(text: str, path: Path, line: int) -> dict[str, Any] | None:
    """The JSON object of a line; None where it is none, for a text may begin with a brace."""
    try:
        given: dict[str, Any] = parse_json(text, path, line)
    except json.JSONDecodeError:
        return None
    return given


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
