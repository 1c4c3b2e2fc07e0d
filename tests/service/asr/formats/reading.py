"""Files of lists written, and read whole."""

from __future__ import annotations

import gzip
from pathlib import Path

from service.asr.formats import ReadOptions, read_lists
from service.asr.hypotheses import NBestList


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def read_one(path: Path, format: str, **options: object) -> list[NBestList]:
    return list(read_lists(path, format, ReadOptions(**options)))  # type: ignore[arg-type]
