"""HTK's standard lattice format (SLF; HTK Book, chapter 20), a file for each utterance.

    VERSION=1.0, UTTERANCE=id, base=10, lmscale=9.5, start=0, end=7, N=8 L=9
    I=0 t=0.00 W=hello                   nodes; words stand on nodes or on links
    J=0 S=0 E=1 W=hello a=-812.5 l=-3.2  links; a acoustic, l language model, r pronunciation,
                                         x1 the rescoring model (SRILM's name of a further score)

Scores are logarithms to `base` (natural if not given, 0 would mean probabilities and is refused)
and come out natural. `r` counts as acoustic, as HTK adds it unscaled by `lmscale`. A word on a node
belongs to the links that lead to it; one on the start node cannot be said and is dropped.
`!NULL`, `!SIL`, `<s>`, `</s>`, `<eps>`, `<sil>`, `-pau-`, `[..]` and `++..++` are no words, in
capitals or not; `word(2)` is `word`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from service.asr.formats.ids import file_name
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
_NO_WORD = re.compile(
    r"!NULL|!SENT_START|!SENT_END|!SIL|</?s>|<eps>|<sil>|-pau-|\[.*\]|\+\+.*\+\+|#\d+",
    re.IGNORECASE,
)
_INDEX_DIGITS = 18
_VARIANT = re.compile(r"\(\d+\)$")
_LONG_NAMES = {"NODES": "N", "LINKS": "L", "UTTERANCE": "U"}


def read(path: Path) -> Iterator[Lattice]:
    """The lattices of a file, of a folder of files, or of a `.list` of paths."""
    for file in utterance_files(path):
        yield read_lattice(file)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rows:
    """What a file says, before it is a lattice; head and links with their lines.

    words, times: of the nodes. A node without a word has !NULL.
    """

    path: Path
    head: dict[str, tuple[int, str]] = field(default_factory=dict)
    words: dict[int, str] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    links: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def add(self, fields: dict[str, str], line: int) -> None:
        if "I" in fields:
            self._add_node(fields, line)
        elif "J" in fields:
            self.links.append((line, fields))
        else:
            own = {_LONG_NAMES.get(name, name): value for name, value in fields.items()}
            self.head.update({name: (line, value) for name, value in own.items()})

    def _add_node(self, fields: dict[str, str], line: int) -> None:
        node = _index(fields["I"], self.path, line)
        if node in self.words:
            fault = f"the node I={node} occurs twice; a file holds one lattice"
            raise FormatError(self.path, line, fault)
        self.words[node] = fields.get("W", "!NULL")
        if "t" in fields:
            self.times[node] = number(fields["t"], self.path, line, "t")


def read_lattice(path: Path) -> Lattice:
    """One file's lattice. Raises FormatError."""
    rows = _Rows(path=path)
    for line, text in numbered_lines(path):
        if text.startswith("#"):
            continue
        if rest := _FIELD.sub("", text).strip():
            raise FormatError(path, line, f"has no NAME=VALUE: {rest[:40]!r}")
        rows.add({name: _unquoted(value) for name, value in _FIELD.findall(text)}, line)
    return _build(rows)


def _build(rows: _Rows) -> Lattice:
    path = rows.path
    for name, count in (("N", len(rows.words)), ("L", len(rows.links))):
        line, said = rows.head.get(name, (None, str(count)))
        if said != str(count):
            raise FormatError(path, line, f"says {name}={said} and has {count} of them")
    unit = _log_base(rows)
    links = [_link(fields, rows, unit, line) for line, fields in rows.links]
    ends, starts = {link.end for link in links}, {link.start for link in links}
    start = _outermost(rows, "start", set(rows.words) - ends)
    end = _outermost(rows, "end", set(rows.words) - starts)
    try:
        return build_lattice(
            id=rows.head.get("U", (0, ""))[1] or stem(path),
            start=start,
            finals={end: Final()},
            links=links,
            times=rows.times,
        )
    except ValueError as error:
        raise FormatError(path, None, str(error)) from None


def _link(fields: Mapping[str, str], rows: _Rows, unit: float, line: int) -> Link:
    start, end = (_node(fields.get(name, ""), rows, line) for name in ("S", "E"))
    acoustic, lm, pronunciation, model = (
        unit * number(fields.get(name, "0"), rows.path, line, name)
        for name in ("a", "l", "r", "x1")
    )
    word = fields.get("W", rows.words[end])
    return Link(start, end, spoken(word), acoustic + pronunciation, lm, model)


def spoken(word: str) -> str:
    """The word that is said; SILENCE for silences, noises and marks of the sentence's ends."""
    return SILENCE if _NO_WORD.fullmatch(word) else _VARIANT.sub("", word)


def _index(text: str, path: Path, line: int) -> int:
    if not text.isdecimal() or len(text) > _INDEX_DIGITS:
        raise FormatError(path, line, f"{text[:40]!r} is no number of a node or link")
    return int(text)


def _node(text: str, rows: _Rows, line: int) -> int:
    """The number of a node that there is."""
    node = _index(text, rows.path, line)
    if node not in rows.words:
        raise FormatError(rows.path, line, f"there is no node I={node}")
    return node


def _log_base(rows: _Rows) -> float:
    """What a logarithm of the file is multiplied by to be natural."""
    if "base" not in rows.head:
        return 1.0
    line, text = rows.head["base"]
    base = number(text, rows.path, line, "base")
    if base <= 0 or base == 1:
        raise FormatError(rows.path, line, f"base={text} gives no logarithms")
    return math.log(base)


def _outermost(rows: _Rows, name: str, found: set[int]) -> int:
    if name in rows.head:
        line, given = rows.head[name]
        return _node(given, rows, line)
    if len(found) != 1:
        raise FormatError(rows.path, None, f"has {len(found)} nodes that could be its {name}")
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
        self._written: set[str] = set()

    def write(self, lattice: Lattice) -> None:
        """ValueError for an id that cannot name a file, or has one already."""
        name = file_name(lattice.id, self._written)
        with open_text(self._folder / f"{name}.lat.gz", "w") as file:
            write_lattice(lattice, file)
