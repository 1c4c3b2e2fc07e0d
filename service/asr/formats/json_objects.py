"""The members of one large JSON object, one at a time, without reading the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from service.asr.formats.json_values import check_strings, fault, refuse_constant
from service.asr.formats.text_files import UNREADABLE, FormatError, open_text, unreadable

_CHUNK = 1 << 16
_SPACE = " \t\r\n"


class _Reader:
    """A window over the file that is moved along as values are taken from it."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self._file, self._path = file, path
        self._text, self.line, self._ended = "", 1, False
        self._decoder = json.JSONDecoder(parse_constant=refuse_constant)

    def fail(self, fault: str) -> FormatError:
        return FormatError(self._path, self.line, fault)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            stripped = self._text.lstrip(_SPACE)
            self._drop(len(self._text) - len(stripped))
            if stripped or not self._more():
                return stripped[:1]

    def take(self, expected: str) -> None:
        if self.peek() != expected:
            found = repr(self.peek()) if self.peek() else "its end"
            raise self.fail(f"has {found} where {expected!r} should be")
        self._drop(1)

    def value(self) -> Any:
        """The next JSON value."""
        self.peek()
        size = _CHUNK
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text)
                # A number at the window's edge may go on behind it.
                if end < len(self._text) or self._ended:
                    check_strings(value, self._text[:end])
                    self._drop(end)
                    return value
            except json.JSONDecodeError as error:
                if self._ended:
                    self.line += self._text.count("\n", 0, error.pos)
                    raise self.fail(f"is no JSON: {error.msg}") from None
            except ValueError as error:
                raise self.fail(fault(error)) from None
            except RecursionError:
                raise self.fail("is nested too deeply") from None
            # Twice as much each time, so that a long value is not parsed for every chunk of it.
            self._more(size)
            size *= 2

    def _more(self, size: int = _CHUNK) -> bool:
        try:
            chunk = self._file.read(size)
        except UNREADABLE as error:
            line = self.line + self._text.count("\n")
            raise unreadable(error, self._path, line) from None
        self._ended = not chunk
        self._text += chunk
        return bool(chunk)

    def _drop(self, count: int) -> None:
        self.line += self._text.count("\n", 0, count)
        self._text = self._text[count:]


def members(path: Path, inside: str | None = None) -> Iterator[tuple[int, str, Any]]:
    """(line, name, value) of each member of the file's object.

    inside: the name of a member that is itself an object, whose members are given instead.
    """
    with open_text(path) as file:
        reader = _Reader(file, path)
        yield from _members(reader, inside)
        if reader.peek():
            raise reader.fail(f"goes on behind its object: {reader.peek()!r}")


def _members(reader: _Reader, inside: str | None) -> Iterator[tuple[int, str, Any]]:
    reader.take("{")
    is_found = False
    while reader.peek() != "}":
        name = reader.value()
        if not isinstance(name, str):
            raise reader.fail(f"a member's name is no string: {name!r:.40}")
        reader.take(":")
        if inside == name:
            yield from _members(reader, None)
            is_found = True
        else:
            line = reader.line
            value = reader.value()
            if inside is None:
                yield line, name, value
        if reader.peek() != ",":
            break
        reader.take(",")
    reader.take("}")
    if inside is not None and not is_found:
        raise reader.fail(f"the object has no member {inside!r}")
