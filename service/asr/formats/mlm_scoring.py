"""mlm-scoring's hypotheses: one JSON object (Salazar et al. 2020, arXiv:1910.14659).

    {utterance: {"ref": text, "hyp_1": {"score": -12.3, "text": ...}, "hyp_2": ...}, ...}

Natural logarithms. Hypotheses are taken by their numbers. Read and written member by member.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from service.asr.formats.json_objects import members
from service.asr.formats.jsonl import parse
from service.asr.formats.text_files import FormatError
from service.asr.hypotheses import NBestList

_NUMBERED = re.compile(r"hyp_(\d+)")


def read(path: Path) -> Iterator[NBestList]:
    """The lists of a file, one at a time."""
    for line, name, value in members(path):
        try:
            yield parse(_entry(name, value), default_id=name)
        except ValueError as error:
            raise FormatError(path, line, f"{name!r}: {error}") from None


def _entry(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    numbered = {int(match[1]): key for key in value if (match := _NUMBERED.fullmatch(key))}
    if others := sorted(set(value) - set(numbered.values()) - {"ref"}):
        raise ValueError(f"{others[0]!r} is neither 'ref' nor 'hyp_N'")
    entry = {"id": name, "hypotheses": [value[numbered[number]] for number in sorted(numbered)]}
    return entry | ({"reference": value["ref"]} if value.get("ref") is not None else {})


class Writer:
    """The object, an utterance a line; the score is the total where there is one."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._is_first = file, True

    def write(self, nbest: NBestList) -> None:
        value: dict[str, Any] = {} if nbest.reference is None else {"ref": nbest.reference}
        for number, own in enumerate(nbest.hypotheses, 1):
            value[f"hyp_{number}"] = {
                "score": own.extra.get("total", own.score),
                "text": own.text,
            }
        self._file.write("{\n" if self._is_first else ",\n")
        self._is_first = False
        name = json.dumps(nbest.id, ensure_ascii=False)
        self._file.write(f"{name}: {json.dumps(value, ensure_ascii=False)}")

    def close(self) -> None:
        self._file.write("{}\n" if self._is_first else "\n}\n")
