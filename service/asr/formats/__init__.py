"""Readers and writers of N-best lists and lattices, by the name of their format.

Reading yields one list at a time; scores come out as natural logarithms, higher is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

from service.asr.formats import (
    espnet,
    htk_lattice,
    jsonl,
    kaldi,
    kaldi_lattice,
    mlm_scoring,
    nemo,
    srilm,
)
from service.asr.formats.text_files import FormatError, open_text
from service.asr.hypotheses import NBestList
from service.asr.lattice import Lattice, PathWeights, nbest

LATTICE_FORMATS = ("htk-lattice", "kaldi-lattice")
NBEST_FORMATS = ("jsonl", "kaldi", "srilm", "nemo", "mlm-scoring", "espnet")
FORMATS = (*NBEST_FORMATS, *LATTICE_FORMATS)

__all__ = [
    "FORMATS",
    "LATTICE_FORMATS",
    "NBEST_FORMATS",
    "OUTPUTS",
    "FormatError",
    "ListWriter",
    "ReadOptions",
    "open_writer",
    "read_lattices",
    "read_lists",
]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What some formats need to be told.

    beam_size: rows of each utterance (nemo). manifest: its ids and references (nemo).
    symbols: a `words.txt` (kaldi-lattice). nbest, path_weights: hypotheses taken from a lattice,
    and how its own scores rank them.
    """

    beam_size: int | None = None
    manifest: Path | None = None
    symbols: Path | None = None
    nbest: int = 100
    path_weights: PathWeights = field(default_factory=PathWeights)


class ListWriter(Protocol):
    """Takes lists in their order."""

    def write(self, nbest: NBestList) -> None: ...


def read_lists(path: Path, format: str, options: ReadOptions | None = None) -> Iterator[NBestList]:
    """The lists of a file or folder. FormatError names file, line and fault."""
    options = options or ReadOptions()
    if format in LATTICE_FORMATS:
        lattices = read_lattices(path, format, options)
        return (nbest(own, options.nbest, options.path_weights) for own in lattices)
    if format == "nemo":
        if options.beam_size is None:
            raise ValueError("the format nemo does not say where a list ends: give --beam-size")
        return nemo.read(path, options.beam_size, options.manifest)
    readers: dict[str, Callable[[Path], Iterator[NBestList]]] = {
        "jsonl": jsonl.read,
        "kaldi": kaldi.read,
        "srilm": srilm.read,
        "mlm-scoring": mlm_scoring.read,
        "espnet": espnet.read,
    }
    return readers[format](path)


def read_lattices(path: Path, format: str, options: ReadOptions | None = None) -> Iterator[Lattice]:
    """The lattices of a file or folder."""
    symbols = options.symbols if options else None
    if format == "kaldi-lattice":
        return kaldi_lattice.read(path, kaldi_lattice.read_symbols(symbols) if symbols else None)
    return htk_lattice.read(path)


_TO_FILE: dict[str, Callable[[Any], ListWriter]] = {
    "text": kaldi.TextWriter,
    "jsonl": jsonl.Writer,
    "nemo": nemo.Writer,
    "mlm-scoring": mlm_scoring.Writer,
}
_TO_FOLDER: dict[str, Callable[[Path], ListWriter]] = {
    "kaldi": kaldi.Writer,
    "espnet": espnet.Writer,
    **{
        ("srilm" if form == "plain" else form): (
            lambda folder, form=form: srilm.Writer(folder, form)  # type: ignore[misc]
        )
        for form in get_args(srilm.Form)
    },
}
OUTPUTS = (*_TO_FILE, *_TO_FOLDER)


@contextmanager
def open_writer(path: Path, output: str) -> Iterator[ListWriter]:
    """A writer of one of OUTPUTS to a file (`-` is standard output) or, where it takes more files,
    to a folder. What it holds is closed at the end."""
    if output in _TO_FOLDER:
        if path == Path("-"):
            raise ValueError(f"the form {output} is a folder of files: give --out FOLDER")
        writer = _TO_FOLDER[output](path)
        try:
            yield writer
        finally:
            _close(writer)
        return
    file = open_text(path, "w")
    try:
        writer = _TO_FILE[output](file)
        yield writer
        _close(writer)
    finally:
        if path == Path("-"):
            file.flush()
        else:
            file.close()


def _close(writer: ListWriter) -> None:
    if (close := getattr(writer, "close", None)) is not None:
        close()
