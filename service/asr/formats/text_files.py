"""Text files line by line, in constant memory, and errors that name the line."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

STDIO = Path("-")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\0"
# What reading raises where a file is no text, or no whole archive.
UNREADABLE = (UnicodeDecodeError, EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error)


class FormatError(ValueError):
    """A file that is not what it should be: names the file, the line and the fault."""

    def __init__(self, path: Path, line: int | None, fault: str) -> None:
        name = "standard input" if path == STDIO else f"{path}"
        where = name if line is None else f"{name}, line {line}"
        super().__init__(f"{where}: {fault}")


def open_text(path: Path, mode: str = "r") -> IO[str]:
    """A text file in UTF-8, `.gz` and `.xz` by their names, `-` the standard streams.

    A byte order mark is no part of the text. Standard input may be packed, too: it has no name
    that tells, but its first bytes do.
    """
    if path == STDIO:
        return _standard_input() if mode == "r" else _standard_output()
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    if path.suffix == ".gz":
        return cast(IO[str], gzip.open(path, mode + "t", encoding=encoding))
    if path.suffix == ".xz":
        return cast(IO[str], lzma.open(path, mode + "t", encoding=encoding))
    return path.open(mode, encoding=encoding)


def _standard_input() -> IO[str]:
    """Whatever encoding the terminal has: bytes that are no UTF-8 are an error as in any file."""
    found: Any = sys.stdin.buffer
    if found.closed:
        raise ValueError("standard input has been read: it can be named once")
    raw = found if hasattr(found, "peek") else io.BufferedReader(found)
    begins = raw.peek(len(_XZ))
    if begins.startswith(_GZIP):
        raw = gzip.GzipFile(fileobj=raw)
    elif begins.startswith(_XZ):
        raw = lzma.LZMAFile(raw)  # noqa: SIM115, closed by its wrapper
    return io.TextIOWrapper(raw, encoding="utf-8-sig")


def _standard_output() -> IO[str]:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    return sys.stdout


def all_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their numbers, from 1, without their ends."""
    number = 0
    with open_text(path) as file:
        lines = iter(file)
        while True:
            number += 1
            try:
                line = next(lines, None)
            except UNREADABLE as error:
                raise unreadable(error, path, number) from None
            if line is None:
                return
            yield number, line.strip("\r\n")


def unreadable(error: Exception, path: Path, line: int) -> FormatError:
    """What to tell of one of UNREADABLE. line: the first that was not read whole.

    A file is decoded so much at a time: the byte at fault may be lines further.
    """
    if not isinstance(error, UnicodeDecodeError):
        return FormatError(path, line, f"is not readable text: {error}")
    line += len(_LINE_END.findall(error.object[: error.start]))
    byte = error.object[error.start]
    return FormatError(path, line, f"is not readable text: byte 0x{byte:02x} is no UTF-8")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers, without white space around them."""
    for number, line in all_lines(path):
        if stripped := line.strip():
            yield number, stripped


def keyed_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """`key value` lines: their numbers, keys, and the rest (empty if there is none)."""
    for number, line in numbered_lines(path):
        key, *rest = line.split(maxsplit=1)
        yield number, key, rest[0] if rest else ""


def number(text: str, path: Path, line: int, what: str) -> float:
    """A finite float; FormatError otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(path, line, f"{what} is no finite number: {text[:40]!r}")
    return value


def stem(path: Path) -> str:
    """The name of an utterance's file without its endings: `u1` for `u1.score.gz`."""
    name = path.name
    for ending in (".gz", ".xz", ".lat", ".slf", ".nbest", ".score", ".txt"):
        name = name.removesuffix(ending)
    return name


def utterance_files(path: Path, endings: tuple[str, ...] = ()) -> list[Path]:
    """The files of a source that has one for each utterance, in their order.

    path: such a file; a folder of them, taken by name; or a list of their paths, one a line, whose
    own name ends in `.list` or `.scp` (there perhaps behind an id).
    """
    if path.is_dir():
        found = sorted(
            own
            for own in path.iterdir()
            if own.is_file() and not own.name.startswith(".") and own.name.endswith(endings or "")
        )
        if not found:
            raise FormatError(path, None, "the folder holds no file")
        return found
    if path.suffix in (".list", ".scp"):
        return [path.parent / line.split()[-1] for _, line in numbered_lines(path)]
    return [path]
