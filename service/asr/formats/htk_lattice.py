"""HTK's standard lattice format (SLF; HTK Book, chapter 20), a file for each utterance.

    VERSION=1.0, UTTERANCE=id, base=10, lmscale=9.5, start=0, end=7, N=8 L=9
    I=0 t=0.00 W=hello                   nodes; words stand on nodes or on links
    J=0 S=0 E=1 W=hello a=-812.5 l=-3.2  links; a acoustic, l language model, r pronunciation,
                                         x1 the rescoring model (SRILM's name of a further score)

Scores are logarithms to `base` (natural if not given, 0 would mean probabilities and is refused)
and come out natural. `r` counts as acoustic, as HTK adds it unscaled by `lmscale`. A word on a node
belongs to the links that lead to it; one on the start node cannot be said and is dropped.
`!NULL`, `<s>`, `</s>`, `<eps>`, `<sil>`, `[..]` and `++..++` are no words; `word(2)` is `word`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from service.asr.formats.text_files import (
    FormatError,
    number,
    numbered_lines,
    open_text,
    stem,
    utterance_files,
)
from service.asr.lattice import SILENCE, Final, Lattice, Link, build_lattice

_FIELD = re.compile(r"""([^\s=]+)=("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)""")
_NO_WORD = re.compile(r"!NULL|!SENT_START|!SENT_END|</?s>|<eps>|<sil>|\[.*\]|\+\+.*\+\+|#\d+")
_VARIANT = re.compile(r"\(\d+\)$")
_LONG_NAMES = {"NODES": "N", "LINKS": "L", "UTTERANCE": "U"}


def read(path: Path) -> Iterator[Lattice]:
    """The lattices of a file, of a folder of files, or of a `.list` of paths."""
    for file in utterance_files(path):
        yield read_lattice(file)


def read_lattice(path: Path) -> Lattice:
    """One file's lattice. Raises FormatError."""
    head: dict[str, str] = {}
    nodes: dict[int, dict[str, str]] = {}
    links: list[tuple[int, dict[str, str]]] = []
    for line, text in numbered_lines(path):
        if text.startswith("#"):
            continue
        fields = {name: _unquoted(value) for name, value in _FIELD.findall(text)}
        if not fields:
            raise FormatError(path, line, f"has no NAME=VALUE: {text[:40]!r}")
        if "I" in fields:
            nodes[_index(fields["I"], path, line)] = fields
        elif "J" in fields:
            links.append((line, fields))
        else:
            head |= {_LONG_NAMES.get(name, name): value for name, value in fields.items()}
    return _build(path, head, nodes, links)


def _build(
    path: Path,
    head: Mapping[str, str],
    nodes: Mapping[int, Mapping[str, str]],
    rows: list[tuple[int, dict[str, str]]],
) -> Lattice:
    for name, count in (("N", len(nodes)), ("L", len(rows))):
        if name in head and head[name] != str(count):
            raise FormatError(path, None, f"says {name}={head[name]} and has {count} of them")
    unit = _log_base(head.get("base"), path)
    links = [_link(fields, nodes, unit, path, line) for line, fields in rows]
    ends, starts = {link.end for link in links}, {link.start for link in links}
    start = _outermost(head.get("start"), set(nodes) - ends, "start", path)
    end = _outermost(head.get("end"), set(nodes) - starts, "end", path)
    try:
        return build_lattice(
            id=head.get("U", "") or stem(path),
            start=start,
            finals={end: Final()},
            links=links,
            times={
                node: number(own["t"], path, 0, "t") for node, own in nodes.items() if "t" in own
            },
        )
    except ValueError as error:
        raise FormatError(path, None, str(error)) from None


def _link(
    fields: Mapping[str, str],
    nodes: Mapping[int, Mapping[str, str]],
    unit: float,
    path: Path,
    line: int,
) -> Link:
    start, end = (_index(fields.get(name, ""), path, line) for name in ("S", "E"))
    for node in (start, end):
        if node not in nodes:
            raise FormatError(path, line, f"there is no node I={node}")
    acoustic, lm, pronunciation, model = (
        unit * number(fields.get(name, "0"), path, line, name) for name in ("a", "l", "r", "x1")
    )
    word = fields.get("W", nodes[end].get("W", "!NULL"))
    return Link(start, end, spoken(word), acoustic + pronunciation, lm, model)


def spoken(word: str) -> str:
    """The word that is said; SILENCE for silences, noises and marks of the sentence's ends."""
    return SILENCE if _NO_WORD.fullmatch(word) else _VARIANT.sub("", word)


def _index(text: str, path: Path, line: int) -> int:
    if not text.isdecimal():
        raise FormatError(path, line, f"{text!r} is no number of a node or link")
    return int(text)


def _log_base(text: str | None, path: Path) -> float:
    """What a logarithm of the file is multiplied by to be natural."""
    if text is None:
        return 1.0
    base = number(text, path, 1, "base")
    if base <= 0 or base == 1:
        raise FormatError(path, None, f"base={text} gives no logarithms")
    return math.log(base)


def _outermost(given: str | None, found: set[int], name: str, path: Path) -> int:
    if given is not None:
        return _index(given, path, 0)
    if len(found) != 1:
        raise FormatError(path, None, f"has {len(found)} nodes that could be its {name}")
    return found.pop()


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return re.sub(r"\\(.)", r"\1", value)


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[\s\"'=\\]", word) else word


def write_lattice(lattice: Lattice, file: IO[str]) -> None:
    """The lattice with words on its links, natural logarithms."""
    end, finals = _one_end(lattice)
    links = [*lattice.links, *finals]
    is_rescored = any(link.model for link in links)
    file.write(f"VERSION=1.0\nUTTERANCE={_quoted(lattice.id)}\nbase={math.e!r}\n")
    num_nodes = max(lattice.num_nodes, end + 1)
    file.write(f"start={lattice.start}\nend={end}\nN={num_nodes} L={len(links)}\n")
    for node in range(num_nodes):
        time = lattice.times.get(node)
        file.write(f"I={node}" + ("" if time is None else f" t={time:.2f}") + "\n")
    for index, link in enumerate(links):
        word = _quoted(link.word) if link.word else "!NULL"
        scores = f"a={link.acoustic!r} l={link.lm!r}" + (
            f" x1={link.model!r}" if is_rescored else ""
        )
        file.write(f"J={index} S={link.start} E={link.end} W={word} {scores}\n")


def _one_end(lattice: Lattice) -> tuple[int, list[Link]]:
    """SLF has a single end without scores: the lattice's own, or one that all finals lead to."""
    if len(lattice.finals) == 1:
        ((node, only),) = lattice.finals.items()
        if only == Final():
            return node, []
    end = lattice.num_nodes
    return end, [
        Link(node, end, SILENCE, own.acoustic, own.lm, own.model)
        for node, own in lattice.finals.items()
    ]


class Writer:
    """A folder with a file for each lattice."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def write(self, lattice: Lattice) -> None:
        with open_text(self._folder / f"{lattice.id}.lat.gz", "w") as file:
            write_lattice(lattice, file)
