"""JSON values of files: parsed with their faults named, and fit to be scored and written again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from service.asr.formats.text_files import FormatError


def parse_json_line(text: str, path: Path, line: int) -> Any:
    """The JSON value of a line; FormatError otherwise."""
    try:
        return parse_json(text, path, line)
    except json.JSONDecodeError as error:
        raise FormatError(path, line, f"is no JSON: {error}") from None


def parse_json(text: str, path: Path, line: int) -> Any:
    """The JSON value of a line, JSONDecodeError where it is none.

    FormatError where it is one that could be neither scored nor written again.
    """
    try:
        value = json.loads(text, parse_constant=refuse_constant)
        check_strings(value, text)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise FormatError(path, line, fault(error)) from None
    except RecursionError:
        raise FormatError(path, line, "is nested too deeply") from None
    return value


class _ConstantError(ValueError):
    """NaN or an infinity, which Python reads and JSON has not."""


def refuse_constant(name: str) -> None:
    """For `parse_constant` of a decoder."""
    raise _ConstantError(name)


def check_strings(value: Any, source: str) -> None:
    """UnicodeEncodeError where a string of a JSON value is no Unicode text: half of a surrogate
    pair, as `"\\ud83d"` in its source. It could be neither scored nor written."""
    if "\\u" in source:
        json.dumps(value, ensure_ascii=False).encode()


def fault(error: ValueError) -> str:
    """What is wrong with JSON that can be parsed, but not used."""
    if isinstance(error, UnicodeEncodeError):
        half = error.object[error.start]
        return f"has a string that is no Unicode text: half of a surrogate pair, {half!r}"
    if isinstance(error, _ConstantError):
        return f"is no JSON: {error} is no finite number"
    return "has a number of too many digits"


def finite(value: Any) -> float | None:
    """A JSON value as a finite float; None if it is none, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        real = float(value)
    except OverflowError:
        return None
    return real if math.isfinite(real) else None
