"""NeMo's beams: `text<TAB>score` rows, exactly the beam's size of them for each utterance.

`scripts/asr_language_modeling/neural_rescorer/eval_neural_rescorer.py` reads such a file beside a
manifest, JSON lines whose `text` is the reference; here the manifest is optional and gives ids
(`audio_filepath`) and references. Natural logarithms. Rows with an empty text are hypotheses too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from service.asr.formats.json_values import parse_json_line
from service.asr.formats.text_files import FormatError, all_lines, number, numbered_lines
from service.asr.hypotheses import Hypothesis, NBestList


def read(path: Path, beam_size: int, manifest: Path | None = None) -> Iterator[NBestList]:
    """The lists of a file, `beam_size` rows each."""
    about = _manifest(manifest) if manifest else None
    rows: list[Hypothesis] = []
    utterance, line = 0, 0
    for line, text in all_lines(path):
        rows.append(_row(text, path, line))
        if len(rows) == beam_size:
            utterance += 1
            yield _build(utterance, rows, about, path, line)
            rows = []
    if rows:
        raise FormatError(
            path, line, f"the last list has {len(rows)} rows where --beam-size says {beam_size}"
        )
    if about and next(about, None) is not None:
        raise FormatError(path, line, f"ends after {utterance} lists; the manifest has more")


def _row(text: str, path: Path, line: int) -> Hypothesis:
    spoken, tab, score = text.rpartition("\t")
    if not tab:
        raise FormatError(path, line, "has no tab between text and score")
    if "\t" in spoken:
        raise FormatError(path, line, f"has {text.count(tab) + 1} columns, not text and score")
    return Hypothesis(text=" ".join(spoken.split()), score=number(score, path, line, "the score"))


def _manifest(path: Path) -> Iterator[dict[str, str | None]]:
    for line, text in numbered_lines(path):
        entry = parse_json_line(text, path, line)
        if not isinstance(entry, dict):
            raise FormatError(path, line, "is no JSON object")
        for name in ("audio_filepath", "text"):
            if not isinstance(entry.get(name), str | None):
                raise FormatError(path, line, f"{name!r} is no string: {entry[name]!r:.40}")
        yield entry


def _build(
    utterance: int,
    rows: list[Hypothesis],
    about: Iterator[dict[str, str | None]] | None,
    path: Path,
    line: int,
) -> NBestList:
    if about is None:
        return NBestList(id=str(utterance), hypotheses=tuple(rows))
    entry = next(about, None)
    if entry is None:
        raise FormatError(path, line, f"the manifest has no entry {utterance}")
    return NBestList(
        id=entry.get("audio_filepath") or str(utterance),
        hypotheses=tuple(rows),
        reference=entry.get("text"),
    )


class Writer:
    """Rows of `text<TAB>score`; the score is the total where there is one."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, nbest: NBestList) -> None:
        for own in nbest.hypotheses:
            score = own.extra.get("total", own.score)
            self._file.write(f"{' '.join(own.words)}\t{0.0 if score is None else score!r}\n")
