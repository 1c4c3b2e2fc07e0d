"""JSON values: numbers that are numbers, strings that are text, and the line of what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.asr.formats.json_values import check_strings, finite, parse_json_line
from service.asr.formats.text_files import FormatError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (-2.5, -2.5),
        (10**300, 1e300),
        (10**400, None),
        (float("nan"), None),
        (float("-inf"), None),
        (True, None),
        ("1", None),
        (None, None),
        ([1], None),
    ],
)
def test_a_finite_number(value: object, expected: float | None) -> None:
    assert finite(value) == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "is no JSON: "),
        ("[" * 100_000, "is nested too deeply"),
        ("[1, NaN]", "is no JSON: NaN is no finite number"),
        ("1" * 5000, "has a number of too many digits"),
        (r'{"a": ["\udfff"]}', r"has a string that is no Unicode text: half of .* '\\udfff'"),
        (r'{"\ud800": 1}', "has a string that is no Unicode text"),
    ],
)
def test_faults_have_the_line(text: str, fault: str) -> None:
    with pytest.raises(FormatError, match=f"^f, line 3: {fault}"):
        parse_json_line(text, Path("f"), 3)


def test_escapes_that_are_text_are_text() -> None:
    source = r'["\u00e9", "\ud83d\ude00", "\\\\ud83d"]'
    value = parse_json_line(source, Path("f"), 1)
    assert value == ["é", "😀", r"\\ud83d"]
    check_strings(value, source)
