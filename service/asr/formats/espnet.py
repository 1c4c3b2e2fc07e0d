"""ESPnet's N-best lists.

ESPnet2, a folder of `1best_recog`, `2best_recog`, ...: each with `text` (`utt-id words`) and
`score` (`utt-id tensor(-12.3)`). The folders are read side by side; an utterance need not be in
every one. ESPnet1, a JSON file: {"utts": {id: {"output": [{"rec_text", "score", "text"}]}}}, where
`text` is the reference and sub-word marks of `rec_text` are taken out.
Natural logarithms; the score is the beam search's composite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from service.asr.formats.ids import word_of_line
from service.asr.formats.json_objects import members
from service.asr.formats.text_files import FormatError, keyed_lines, number, open_text
from service.asr.hypotheses import Hypothesis, NBestList

_TENSOR = re.compile(r"tensor\((?P<value>[^,)]+).*\)")
_FOLDER = re.compile(r"(\d+)best_recog")
_END = "<eos>"


def read(path: Path) -> Iterator[NBestList]:
    """The lists of an ESPnet2 folder or an ESPnet1 file."""
    return _read_folder(path) if path.is_dir() else _read_json(path)


def _read_folder(path: Path) -> Iterator[NBestList]:
    ranks = {int(m[1]): own for own in path.iterdir() if (m := _FOLDER.fullmatch(own.name))}
    if 1 not in ranks:
        raise FormatError(path, None, "the folder holds no 1best_recog")
    streams = [_Stream(ranks[rank]) for rank in sorted(ranks)]
    while (key := streams[0].key) is not None:
        yield NBestList(id=key, hypotheses=tuple(own.take() for own in streams if own.key == key))
    for own in streams:
        if own.key is not None:
            raise own.fail(f"{own.key!r} is missing in 1best_recog, or stands there in other order")
        own.check_scores_ended()


class _Stream:
    """The hypotheses of one rank, by utterance."""

    def __init__(self, folder: Path) -> None:
        self._text, self._score = folder / "text", folder / "score"
        self._texts = keyed_lines(self._text)
        self._scores = keyed_lines(self._score) if self._score.exists() else None
        self._advance()

    def _advance(self) -> None:
        self.key: str | None
        self._line, self.key, words = next(self._texts, (0, None, ""))
        self._words = " ".join(words.split())

    def fail(self, fault: str) -> FormatError:
        return FormatError(self._text, self._line, fault)

    def take(self) -> Hypothesis:
        score = None
        if self._scores is not None:
            line, key, value = next(self._scores, (None, "nothing", ""))
            if key != self.key or line is None:
                raise FormatError(self._score, line, f"has {key!r} where text has {self.key!r}")
            tensor = _TENSOR.fullmatch(value)
            score = number(tensor["value"] if tensor else value, self._score, line, "the score")
        hypothesis = Hypothesis(text=self._words, score=score)
        self._advance()
        return hypothesis

    def check_scores_ended(self) -> None:
        """FormatError for a score without text."""
        if self._scores is not None and (left := next(self._scores, None)) is not None:
            raise FormatError(self._score, left[0], f"{left[1]!r} is not in text")


def _read_json(path: Path) -> Iterator[NBestList]:
    for line, name, value in members(path, inside="utts"):
        output = value.get("output") if isinstance(value, dict) else None
        if not isinstance(output, list) or not all(isinstance(own, dict) for own in output):
            raise FormatError(path, line, f"{name!r} has no list 'output'")
        yield NBestList(
            id=name,
            hypotheses=tuple(_from_json(own, path, line) for own in output),
            reference=_reference(output, path, line),
        )


def _reference(output: list[dict[str, Any]], path: Path, line: int) -> str | None:
    found = next((own["text"] for own in output if own.get("text") is not None), None)
    if found is not None and not isinstance(found, str):
        raise FormatError(path, line, f"the reference 'text' is no string: {found!r:.40}")
    return found


def _from_json(entry: dict[str, Any], path: Path, line: int) -> Hypothesis:
    if not isinstance(entry.get("rec_text"), str):
        raise FormatError(path, line, "a hypothesis has no string 'rec_text'")
    text = entry["rec_text"].replace("▁", " ").replace(_END, " ")
    score = entry.get("score")
    if score is not None:
        score = number(str(score), path, line, "the score")
    return Hypothesis(text=" ".join(text.split()), score=score)


class Writer:
    """An ESPnet2 folder; the score is the total where there is one."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._files: dict[tuple[int, str], IO[str]] = {}

    def write(self, nbest: NBestList) -> None:
        utterance = word_of_line(nbest.id)
        for rank, own in enumerate(nbest.hypotheses, 1):
            self._file(rank, "text").write(" ".join((utterance, *own.words)) + "\n")
            score = own.extra.get("total", own.score)
            if score is not None:
                self._file(rank, "score").write(f"{utterance} tensor({score!r})\n")

    def _file(self, rank: int, name: str) -> IO[str]:
        if (rank, name) not in self._files:
            folder = self._folder / f"{rank}best_recog"
            folder.mkdir(parents=True, exist_ok=True)
            self._files[rank, name] = self._stack.enter_context(open_text(folder / name, "w"))
        return self._files[rank, name]

    def close(self) -> None:
        self._stack.close()
