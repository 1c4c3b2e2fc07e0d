"""Members of an object, one at a time, whatever lies on the borders of what is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.asr.formats import json_objects
from service.asr.formats.json_objects import members
from service.asr.formats.text_files import FormatError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def write(folder: Path, text: str) -> Path:
    (folder / "o.json").write_text(text, encoding="utf-8")
    return folder / "o.json"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    entry=st.dictionaries(st.text(max_size=4), VALUES, max_size=4),
    indent=st.sampled_from([None, 1]),
    size=st.sampled_from([1, 2, 7, 1 << 16]),
)
def test_members_are_those_of_the_object_however_it_is_cut(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    entry: dict[str, Any],
    indent: int | None,
    size: int,
) -> None:
    monkeypatch.setattr(json_objects, "_CHUNK", size)
    path = write(tmp_path, json.dumps(entry, indent=indent, ensure_ascii=False))
    found = list(members(path))
    assert {name: value for _, name, value in found} == entry
    inside = write(tmp_path, json.dumps({"before": [1, {}], "all": entry, "after": 1}))
    assert [own[1:] for own in members(inside, inside="all")] == [own[1:] for own in found]


def test_each_member_has_the_line_of_its_value(tmp_path: Path) -> None:
    path = write(tmp_path, '{\n"a": 1,\n\n"b":\n {"c":\n 2},\n"d": 3}')
    assert [(line, name) for line, name, _ in members(path)] == [(2, "a"), (4, "b"), (7, "d")]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "line 1: has its end where '{' should be"),
        ("[1]", "line 1: has '\\[' where '{' should be"),
        ('{"a" 1}', "has '1' where ':' should be"),
        ('{"a": 1\n"b": 2}', "line 2: has '\"' where '}' should be"),
        ("{1: 2}", "a member's name is no string: 1"),
        ('{"a": \n\n tru}', "line 3: is no JSON"),
        ('{"a": "\\', "is no JSON"),
        ('{"a": 1}\n{"b": 1}', "line 2: goes on behind its object: '{'"),
        ('{"a":\n1' + "1" * 5000 + "}", "line 2: has a number of too many digits"),
        ('{"a": 1,\n"b": "\\ud800"}', "line 2: has a string that is no Unicode text"),
    ],
)
def test_faults_name_the_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(FormatError, match=fault):
        list(members(write(tmp_path, text)))


def test_a_member_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the object has no member 'utts'"):
        list(members(write(tmp_path, '{"a": {"utts": {}}}'), inside="utts"))
