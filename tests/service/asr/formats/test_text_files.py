"""Lines with their numbers, packed or not; the files of a source, in order."""

from __future__ import annotations

import gzip
import io
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.asr.formats.text_files import (
    FormatError,
    keyed_lines,
    number,
    numbered_lines,
    open_text,
    stem,
    utterance_files,
)
from tests.service.asr.formats.reading import read_one

UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}


@pytest.mark.parametrize("ending", UNPACK)
def test_what_is_written_is_read_packed_by_its_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"lines.txt{ending}"
    with open_text(path, "w") as file:
        file.write("é\r\n\n  \n b \n")
    assert list(numbered_lines(path)) == [(1, "é"), (4, "b")]
    assert UNPACK[ending](path.read_bytes()).decode() == "é\r\n\n  \n b \n"


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("a.txt", b"one\n\xff\n", 2),
        ("a.txt", b"a\r\nb\rc\n\n" + b"long " * 9999 + b"\nd\n\xe9\n", 7),
        ("a.txt.gz", b"no gzip", 1),
        ("a.txt.xz", b"no xz", 1),
        ("a.txt.gz", gzip.compress(b"one\ntwo\n" * 1000, mtime=0)[:-9], None),
    ],
)
def test_what_cannot_be_read_names_file_and_line(
    tmp_path: Path, name: str, data: bytes, line: int | None
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=f"{name}, line {line or ''}.*is not readable text"):
        list(numbered_lines(tmp_path / name))


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "n.jsonl"
    path.write_bytes(b'{"hyps": []}\n\xff\xfe\n')
    with pytest.raises(FormatError, match=r"line .*: is not readable text"):
        read_one(path, "jsonl")


@pytest.mark.parametrize("text", ["x", "", "nan", "-inf", "1,5"])
def test_a_number_is_finite(text: str) -> None:
    with pytest.raises(FormatError, match=r"f, line 3: the score is no finite number: "):
        number(text, Path("f"), 3, "the score")
    assert number(" -1e3 ", Path("f"), 3, "the score") == -1000


@pytest.mark.parametrize(
    ("name", "expected"),
    [("u1.score.gz", "u1"), ("u1.lat.gz", "u1"), ("a.b.txt", "a.b"), ("u1", "u1"), ("u.slf", "u")],
)
def test_an_utterance_is_its_files_name_without_endings(name: str, expected: str) -> None:
    assert stem(Path("folder") / name) == expected


def test_files_of_a_folder_by_name_of_a_list_in_its_order(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / "all" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "all" / name).write_text("x")
    (tmp_path / "all" / "folder").mkdir()
    assert [path.name for path in utterance_files(tmp_path / "all")] == ["a", "b"]
    (tmp_path / "some.scp").write_text("id-1 all/b\nid-2 all/a\n")
    assert utterance_files(tmp_path / "some.scp") == [tmp_path / "all/b", tmp_path / "all/a"]
    assert utterance_files(tmp_path / "all/a") == [tmp_path / "all/a"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="the folder holds no file"):
        utterance_files(tmp_path / "empty")


def test_a_byte_order_mark_is_read_past_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\n".encode())
    assert list(numbered_lines(path)) == [(1, "one")]
    with open_text(path, "w") as file:
        file.write("one\n")
    assert path.read_bytes() == b"one\n"


def test_a_key_and_the_rest_whatever_is_between_them(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("\nu1 a  b\n\tu2 \t c\td \nu3\n")
    assert list(keyed_lines(path)) == [(2, "u1", "a  b"), (3, "u2", "c\td"), (4, "u3", "")]


def test_standard_output_is_utf_8_whatever_the_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    file = open_text(Path("-"), "w")
    file.write("é\n")
    file.flush()
    assert written.getvalue() == b"\xc3\xa9\n"


def test_standard_input_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    assert list(numbered_lines(Path("-"))) == [(1, "a")]
    with pytest.raises(ValueError, match="standard input has been read: it can be named once"):
        list(numbered_lines(Path("-")))
