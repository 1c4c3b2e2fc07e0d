"""The curl commands of the documentation, and whether what they print still has the shown form."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"(http://)?(localhost|127\.0\.0\.1):8000")
# A string that is a value in JSON; values do not matter.
_VALUE = re.compile(r'(?<=":)"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
# Objects whose keys are data.
_MAPS = ("top_logprobs", "control_tokens", "metrics")
_WIDTH = 96
_LONGEST_STRING, _LONGEST_LIST, _MOST_LINES = 60, 10, 6
_OMITTED = "..."


@dataclass(frozen=True, kw_only=True)
class Example:
    """A block of commands, where it stands, and the block of output behind it, if there is one.

    span: place of the output's text in the document.
    """

    place: str
    script: str
    output: str | None
    span: tuple[int, int]

    def run(self, address: str, folder: Path) -> str:
        """What the commands print when the server is at `address`; they must succeed."""
        script = at_address(self.script, address)
        command = ["bash", "-euo", "pipefail", "-c", script]
        environment = {**os.environ, "no_proxy": "*"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout


def examples(document: Path) -> Iterator[Example]:
    """Every block of commands in a Markdown file that asks the server on port 8000."""
    text = document.read_text("utf-8")
    for fence, following in pairwise([*FENCE.finditer(text), None]):
        if fence is None or not is_script(fence):
            continue
        has_output = (
            following is not None
            and not is_script(following)
            and not text[fence.end() : following.start()].strip()
        )
        output = following if has_output else None
        yield Example(
            place=f"{document.name}:{text.count(chr(10), 0, fence.start()) + 1}",
            script=fence["text"],
            output=output["text"] if output else None,
            span=output.span("text") if output else (0, 0),
        )


def is_script(fence: re.Match[str]) -> bool:
    """Whether a block of Markdown holds commands that ask the server on port 8000."""
    speaks = fence["language"] in ("", "bash", "sh", "shell", "console")
    return speaks and "curl " in fence["text"] and _ADDRESS.search(fence["text"]) is not None


def at_address(script: str, address: str) -> str:
    """A script that asks port 8000 of this machine, asking the server at `address` instead."""
    return _ADDRESS.sub(address, script)


def differences(shown: str, printed: str) -> list[str]:
    """How the form of what was printed differs from that of what is shown; values do not matter.

    A shown line "..." stands for any lines.
    """
    lines = shown.splitlines()
    wanted, got = _form("\n".join(line for line in lines if line != _OMITTED)), _form(printed)
    faults = [f"shown, not printed: {part}" for part in sorted(wanted - got)]
    if _OMITTED not in lines:
        faults += [f"printed, not shown: {part}" for part in sorted(got - wanted)]
    return faults


def _form(text: str) -> set[str]:
    """Every path of one JSON value with the type at its end, or the lines without their numbers."""
    try:
        return set(_paths(json.loads(text)))
    except ValueError:
        return {_form_of_line(line) for line in text.splitlines() if line}


def _form_of_line(line: str) -> str:
    prefix, is_event, rest = line.partition("data: {")
    if is_event and not prefix:
        return "data: " + " ".join(sorted(set(_paths(json.loads("{" + rest)))))
    return _NUMBER.sub("0", _VALUE.sub('""', line))


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        is_map = path.endswith(_MAPS) or path.removesuffix("[]").endswith(_MAPS)
        if is_map and not any(isinstance(item, str) for item in value.values()):
            yield f"{path}: map"
            return
        for key, item in value.items():
            yield from _paths(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, f"{path}[]")
    elif isinstance(value, bool) or value is None:
        yield f"{path}: {'null' if value is None else 'boolean'}"
    else:
        yield f"{path}: {'string' if isinstance(value, str) else 'number'}"


def shortened(printed: str) -> str:
    """What is shown of an output: long strings, lists and streams are cut."""
    try:
        return _layout(_cut(json.loads(printed)), 0) + "\n"
    except ValueError:
        lines = [_shorter_line(line) for line in printed.splitlines() if line]
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES // 2 : -_MOST_LINES // 2] = [_OMITTED]
        return "\n".join(lines) + "\n"


def _shorter_line(line: str) -> str:
    prefix, is_event, rest = line.partition("data: {")
    if is_event and not prefix:
        return "data: " + json.dumps(_cut(json.loads("{" + rest)), ensure_ascii=False)
    return line


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    if isinstance(value, list):
        is_flat = not any(isinstance(item, dict | list) for item in value)
        return [_cut(item) for item in (value[:_LONGEST_LIST] if is_flat else value)]
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, str) and len(value) > _LONGEST_STRING:
        return value[:_LONGEST_STRING] + "..."
    return value


def _layout(value: Any, indent: int) -> str:
    """JSON that breaks only what does not fit on a line."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= _WIDTH or not isinstance(value, dict | list):
        return flat
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        parts = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {_layout(item, indent + 2)}"
            for key, item in value.items()
        ]
    else:
        parts = [inner + _layout(item, indent + 2) for item in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(parts)
    return f"{opening}\n{body}\n{' ' * indent}{closing}"
