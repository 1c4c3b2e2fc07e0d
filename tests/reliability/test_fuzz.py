"""The short form of the fuzzing; the long one: `make fuzz`. What it found, by itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from models.checkpoint import CONFIG, CheckpointError, load_checkpoint
from service.asr.formats import FormatError, ReadOptions, read_lists
from tests.reliability.fuzz import fuzz
from tests.reliability.target import save_small_model

_DEEP = "[" * 100_000


def test_damaged_inputs_are_refused_cleanly() -> None:
    tally = fuzz(1_000, seed=1)
    assert not tally.finds
    assert len(tally.inputs) > 20
    assert all(tally.refused[name] > 5 for name in tally.inputs if name != "tokenizer"), tally


@pytest.mark.parametrize(
    ("form", "data", "fault"),
    [
        ("nemo", b"a\t1\nb\xff\t2\n", "line 2: is not readable text"),
        ("kaldi-lattice", b"u\n0 1 a 1,\xff\n", "line 2: is not readable text"),
        ("mlm-scoring", b'{"u": {"ref": "\xff"}}', "line 1: is not readable text"),
        ("mlm-scoring", b'{"u": {},\n\n"v": "\xff"}}', "line 3: is not readable text"),
        ("mlm-scoring", b'{"u": ' + _DEEP.encode(), "nested too deeply"),
        ("jsonl", _DEEP.encode(), "line 1: is nested too deeply"),
    ],
)
def test_unreadable_lists_name_file_and_line(
    form: str, data: bytes, fault: str, tmp_path: Path
) -> None:
    file = tmp_path / "lists"
    file.write_bytes(data)
    with pytest.raises(FormatError, match=f"lists.*{fault}"):
        list(read_lists(file, form, ReadOptions(beam_size=1)))


def test_a_line_of_white_space_alone_is_blank(tmp_path: Path) -> None:
    (tmp_path / "1best_recog").mkdir()
    (tmp_path / "1best_recog" / "text").write_text("u0 a\n\t\nu1 b\n \t\n", "utf-8")
    assert [own.id for own in read_lists(tmp_path, "espnet")] == ["u0", "u1"]


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    """Not the checksum at its end, but what zlib itself cannot go on with."""
    packed = bytearray(gzip.compress(b"1 2 1 the cat\n" * 50))
    packed[20:40] = b"\xff" * 20
    (tmp_path / "u.gz").write_bytes(packed)
    with pytest.raises(FormatError, match="line 1: is not readable text"):
        list(read_lists(tmp_path, "srilm"))


def test_a_digest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = save_small_model(tmp_path / "model")
    config = json.loads((folder / CONFIG).read_bytes())
    config["files"] = dict.fromkeys(config["files"], 0.5)
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match="must give a sha256"):
        load_checkpoint(folder)
