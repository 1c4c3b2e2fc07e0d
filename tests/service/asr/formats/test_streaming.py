"""Every format, plain and compressed: files of any size in the memory of a few lists, in order."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.asr.formats import FORMATS, ReadOptions, open_writer, read_lattices, read_lists
from service.asr.formats.htk_lattice import Writer as HtkWriter
from service.asr.formats.kaldi_lattice import Writer as KaldiWriter
from service.asr.hypotheses import Hypothesis, NBestList
from service.asr.lattice import Final, Link, build_lattice

BEAM = 3
OPTIONS = ReadOptions(beam_size=BEAM)
FEW, MANY = 50, 300
JSON_FEW, JSON_MANY = 500, 1200  # a single JSON object is read in pieces of 65,536 characters
ALLOWED = 150_000  # bytes; the lists between few and many take several times as much


def lists(count: int) -> Iterator[NBestList]:
    """As a generator, as `rescore` writes them."""
    for number in range(count):
        yield NBestList(
            id=f"utt-{number:05}",
            hypotheses=tuple(
                Hypothesis(
                    text=f"how are you {number} {rank}",
                    score=-100.5 - rank,
                    scores={"lm": -9.25, "graph": -1.5},
                )
                for rank in range(BEAM)
            ),
        )


def written(output: str) -> Callable[[Path, int], Path]:
    def write(folder: Path, count: int) -> Path:
        path = folder / f"{output}-{count}"
        with open_writer(path, output) as writer:
            for own in lists(count):
                writer.write(own)
        return path

    return write


def espnet_1(folder: Path, count: int) -> Path:
    utterances = {
        own.id: {"output": [{"rec_text": h.text, "score": h.score} for h in own.hypotheses]}
        for own in lists(count)
    }
    path = folder / f"data-{count}.json"
    path.write_text(json.dumps({"utts": utterances}))
    return path


def lattices(form: str) -> Callable[[Path, int], Path]:
    def write(folder: Path, count: int) -> Path:
        path = folder / f"{form}-{count}"
        made = (
            build_lattice(
                id=own.id,
                start=0,
                finals={2: Final()},
                links=[Link(0, 1, "how", -1.5, -2.5)]
                + [Link(1, 2, f"w{number}-{rank}", -1.0 - rank, -0.5) for rank in range(BEAM)],
                times={0: 0.0, 1: 0.5, 2: 1.0},
            )
            for number, own in enumerate(lists(count))
        )
        if form == "htk-lattice":
            writer = HtkWriter(path)
            for lattice in made:
                writer.write(lattice)
        else:
            with path.open("w") as file:
                for lattice in made:
                    KaldiWriter(file).write(lattice)
        return path

    return write


SOURCES: dict[str, Callable[[Path, int], Path]] = {
    **{name: written(name) for name in ("jsonl", "kaldi", "srilm", "nemo", "mlm-scoring")},
    "espnet": written("espnet"),
    "htk-lattice": lattices("htk-lattice"),
    "kaldi-lattice": lattices("kaldi-lattice"),
}


def test_no_format_is_left_out() -> None:
    assert SOURCES.keys() == set(FORMATS)


def peak(path: Path, form: str, count: int) -> int:
    """Bytes at most while a source is read, its lists and hypotheses counted."""
    tracemalloc.start()
    try:
        for number, own in enumerate(read_lists(path, form, OPTIONS)):
            assert own.id == (str(number + 1) if form == "nemo" else f"utt-{number:05}")
            assert len(own.hypotheses) == BEAM
        assert number + 1 == count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", SOURCES)
def test_reading_takes_the_memory_of_a_few_lists(form: str, tmp_path: Path) -> None:
    few, many = (JSON_FEW, JSON_MANY) if form == "mlm-scoring" else (FEW, MANY)
    small, large = (SOURCES[form](tmp_path, count) for count in (few, many))
    peak(small, form, few)  # what is only loaded once
    assert peak(large, form, many) < peak(small, form, few) + ALLOWED


def test_espnet_1_likewise(tmp_path: Path) -> None:
    small, large = (espnet_1(tmp_path, count) for count in (JSON_FEW, JSON_MANY))
    peak(small, "espnet", JSON_FEW)
    assert peak(large, "espnet", JSON_MANY) < peak(small, "espnet", JSON_FEW) + ALLOWED


@pytest.mark.parametrize("output", ["jsonl", "kaldi", "srilm", "nemo", "mlm-scoring", "espnet"])
def test_writing_takes_the_memory_of_a_few_lists(output: str, tmp_path: Path) -> None:
    def written_peak(count: int) -> int:
        tracemalloc.start()
        try:
            SOURCES[output](tmp_path, count)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    written_peak(1)
    assert written_peak(MANY) < written_peak(FEW) + ALLOWED


@pytest.mark.parametrize("form", [own for own in SOURCES if own not in ("kaldi", "espnet")])
def test_compressed_is_read_as_it_is(form: str, tmp_path: Path) -> None:
    """Folders whose files have names of their own (Kaldi, ESPnet) are plain."""
    source = SOURCES[form](tmp_path, 3)
    expected = list(read_lists(source, form, OPTIONS))
    if source.is_dir():
        files = [own for own in source.iterdir() if own.suffix != ".gz"]
    else:
        files = [source]
    for file in files:
        compressed = gzip.compress(file.read_bytes())
        file.with_name(f"{file.name}.gz").write_bytes(compressed)
        file.unlink()
    packed = source if source.is_dir() else source.with_name(f"{source.name}.gz")
    assert list(read_lists(packed, form, OPTIONS)) == expected


@pytest.mark.parametrize("form", ["htk-lattice", "kaldi-lattice"])
def test_a_lattice_comes_back(form: str, tmp_path: Path) -> None:
    source = SOURCES[form](tmp_path, 4)
    first = list(read_lattices(source, form))
    again = tmp_path / "again"
    if form == "htk-lattice":
        writer = HtkWriter(again)
        for own in first:
            writer.write(own)
    else:
        with again.open("w") as file:
            for own in first:
                KaldiWriter(file).write(own)
    assert [(own.id, own.links, dict(own.finals)) for own in read_lattices(again, form)] == [
        (own.id, own.links, dict(own.finals)) for own in first
    ]
