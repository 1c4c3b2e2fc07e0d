"""JSON lines: a list a line, in the form of `/v1/rescore` or with the short names in the wild.

    {"id", "reference", "speaker", "hypotheses": [{"text", "score", "scores": {name: value}}]}
    {"utt", "ref", "hyps": [{"text", "am", "lm", ...}]}

Natural logarithms, higher is better. `am` is the acoustic score and wins over `score`, which is
then the first pass's composite; `lm` is the recogniser's own language model's. `word_scores` gives
by name a number for each word and one for the sentence end. `null` is as if the field were absent.
Other fields come back as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from service.asr.formats.json_values import finite, parse_json_line
from service.asr.formats.text_files import FormatError, numbered_lines
from service.asr.hypotheses import LM, Hypothesis, NBestList

_OF_LIST = ("id", "utt", "reference", "ref", "speaker", "hypotheses", "hyps")
_OWN = ("text", "score", "scores", "word_scores", "am", "lm")


def read(path: Path) -> Iterator[NBestList]:
    """The lists of a file, one at a time."""
    for line, text in numbered_lines(path):
        entry = parse_json_line(text, path, line)
        try:
            yield parse(entry, default_id=str(line))
        except ValueError as error:
            raise FormatError(path, line, str(error)) from None


def parse(entry: Any, default_id: str) -> NBestList:
    """A list from its JSON object; ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("is no JSON object")
    id_name = _first(entry, "id", "utt")
    hyps_name = _first(entry, "hypotheses", "hyps")
    reference_name = _first(entry, "reference", "ref")
    speaker_name = _first(entry, "speaker")
    if hyps_name is None:
        raise ValueError("has no 'hypotheses'")
    hypotheses = entry[hyps_name]
    if not isinstance(hypotheses, list):
        raise ValueError(f"{hyps_name!r} is no list")
    used = {id_name, hyps_name, reference_name, speaker_name}
    return NBestList(
        id=_name(entry, id_name) if id_name else default_id,
        hypotheses=tuple(_hypothesis(own, f"{hyps_name}.{i}") for i, own in enumerate(hypotheses)),
        reference=_text(entry, reference_name) if reference_name else None,
        speaker=_name(entry, speaker_name) if speaker_name else None,
        extra={
            name: value
            for name, value in entry.items()
            if name not in used and not (name in _OF_LIST and value is None)
        },
    )


def _first(entry: Mapping[str, Any], *names: str) -> str | None:
    return next((name for name in names if entry.get(name) is not None), None)


def _text(entry: Mapping[str, Any], name: str) -> str:
    if not isinstance(entry.get(name), str):
        raise ValueError(f"{name!r} is no string")
    return str(entry[name])


def _name(entry: Mapping[str, Any], name: str) -> str:
    """Of an utterance or a speaker: numbers are names, too."""
    if isinstance(entry[name], int) and not isinstance(entry[name], bool):
        return str(entry[name])
    return _text(entry, name)


def _hypothesis(entry: Any, where: str) -> Hypothesis:
    if not isinstance(entry, dict):
        raise ValueError(f"{where} is no JSON object")
    try:
        text = _text(entry, "text")
        score_name = _first(entry, "am", "score")
        scores = {name: _real(value, name) for name, value in _map(entry, "scores").items()}
        if entry.get(LM) is not None:
            own_lm = _real(entry[LM], LM)
            if scores.setdefault(LM, own_lm) != own_lm:
                raise ValueError(f"{LM!r} and 'scores.{LM}' are not the same number")
        extra = {name: value for name, value in entry.items() if name not in _OWN}
        if score_name == "am" and entry.get("score") is not None:
            extra["first_pass"] = entry["score"]
        return Hypothesis(
            text=text,
            score=_real(entry[score_name], score_name) if score_name else None,
            scores=scores,
            word_scores={
                name: _reals(values, f"word_scores.{name}")
                for name, values in _map(entry, "word_scores").items()
            },
            extra=extra,
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _map(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = {} if entry.get(name) is None else entry[name]
    if not isinstance(value, dict):
        raise ValueError(f"{name!r} is no JSON object")
    return value


def _real(value: Any, name: str) -> float:
    if (real := finite(value)) is None:
        raise ValueError(f"{name!r} is no finite number: {value!r:.40}")
    return real


def _reals(values: Any, name: str) -> tuple[float, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{name!r} is no list")
    return tuple(_real(value, name) for value in values)


class Writer:
    """Lists in the form of `/v1/rescore`."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, nbest: NBestList) -> None:
        entry: dict[str, Any] = {"id": nbest.id}
        if nbest.reference is not None:
            entry["reference"] = nbest.reference
        if nbest.speaker is not None:
            entry["speaker"] = nbest.speaker
        entry |= nbest.extra
        entry["hypotheses"] = [_plain(own) for own in nbest.hypotheses]
        self._file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(hypothesis: Hypothesis) -> dict[str, Any]:
    entry: dict[str, Any] = {"text": hypothesis.text}
    if hypothesis.score is not None:
        entry["score"] = hypothesis.score
    if hypothesis.scores:
        entry["scores"] = dict(hypothesis.scores)
    if hypothesis.word_scores:
        entry["word_scores"] = {name: list(own) for name, own in hypothesis.word_scores.items()}
    return entry | dict(hypothesis.extra)
