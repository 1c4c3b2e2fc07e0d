"""Kaldi's lattices as text: `lattice-copy "ark:gunzip -c lat.1.gz |" ark,t:-`, compact or not.

    utt-id
    0 1 hello 3.25,812.5,2_4_4        compact: start end word graph,acoustic,transition-ids
    1 2 17 hello 3.25,812.5           not compact: start end input-label word graph,acoustic
    2 0.5,0.25                        a final node, its costs left out where they are 0
                                      (a blank line ends the lattice)

Costs are natural and negated here. Words may be numbers of a `words.txt`; `<eps>` and 0 are none.
The graph cost holds transition, pronunciation and language model together: it is read as `lm`, and
written as the mixture that the writer is told: (1 - share) * lm + share * the rescoring model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from service.asr.formats.conversions import from_cost, to_cost
from service.asr.formats.htk_lattice import spoken
from service.asr.formats.text_files import FormatError, all_lines, number, numbered_lines
from service.asr.lattice import SILENCE, Final, Lattice, Link, build_lattice


def read_symbols(path: Path) -> dict[str, str]:
    """A `words.txt`: number to word."""
    symbols = {}
    for line, text in numbered_lines(path):
        fields = text.split()
        if len(fields) != 2:
            raise FormatError(path, line, "is no 'word number'")
        symbols[fields[1]] = fields[0]
    return symbols


def read(path: Path, symbols: Mapping[str, str] | None = None) -> Iterator[Lattice]:
    """The lattices of an archive, one at a time. symbols: number to word, where words are so.

    FormatError too where the first lattice that says something says only numbers and no symbols
    are given: a model would score the digits.
    """
    looked_at = symbols is not None
    for block in _blocks(path):
        lattice = _parse(block, symbols, path)
        words = {link.word for link in lattice.links} - {SILENCE}
        if words and not looked_at:
            looked_at = True
            if all(word.isdecimal() for word in words):
                fault = (
                    "holds numbers for words: give --symbols words.txt "
                    "(with lines such as '7 7' if numbers are what was said)"
                )
                raise FormatError(path, block[0][0], fault)
        yield lattice


def _blocks(path: Path) -> Iterator[list[tuple[int, str]]]:
    """Lines of one lattice with their numbers; blank ones lie between."""
    block: list[tuple[int, str]] = []
    for line, text in all_lines(path):
        if text.strip():
            block.append((line, text.strip()))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _parse(block: list[tuple[int, str]], symbols: Mapping[str, str] | None, path: Path) -> Lattice:
    (first, name), rows = block[0], block[1:]
    if len(name.split()) != 1:
        raise FormatError(path, first, f"is no utterance id: {name[:40]!r}")
    finals: dict[int, Final] = {}
    links: list[Link] = []
    start: int | None = None
    for line, text in rows:
        fields = text.split()
        node = _node(fields[0], path, line)
        start = node if start is None else start
        if len(fields) <= 2:
            graph, acoustic = _costs(fields[1] if len(fields) == 2 else "", path, line)
            finals[node] = Final(acoustic, graph)
        elif len(fields) in (3, 4, 5):
            links.append(_link(fields, symbols, path, line))
        else:
            raise FormatError(path, line, f"has {len(fields)} fields")
    try:
        return build_lattice(id=name, start=start or 0, finals=finals, links=links)
    except ValueError as error:
        raise FormatError(path, first, str(error)) from None


def _link(fields: list[str], symbols: Mapping[str, str] | None, path: Path, line: int) -> Link:
    """Compact: start end word [costs]. Not compact: start end input-label word [costs]."""
    has_costs = "," in fields[-1]
    labels = fields[2:-1] if has_costs else fields[2:]
    if not 1 <= len(labels) <= 2:
        raise FormatError(path, line, "has no 'start end word costs'")
    word = labels[-1]
    if symbols is not None:
        if word not in symbols:
            raise FormatError(path, line, f"{word!r} is not among the symbols")
        word = symbols[word]
    graph, acoustic = _costs(fields[-1] if has_costs else "", path, line)
    word = SILENCE if word == "0" and symbols is None else spoken(word)
    return Link(_node(fields[0], path, line), _node(fields[1], path, line), word, acoustic, graph)


def _node(text: str, path: Path, line: int) -> int:
    if not text.isdecimal():
        raise FormatError(path, line, f"{text!r} is no number of a node")
    return int(text)


def _costs(text: str, path: Path, line: int) -> tuple[float, float]:
    """(graph, acoustic) as natural logarithms."""
    if not text:
        return 0.0, 0.0
    parts = text.split(",")
    if len(parts) < 2:
        raise FormatError(path, line, f"{text!r} has no two costs")
    graph, acoustic = (number(own, path, line, "a cost") for own in parts[:2])
    return from_cost(graph), from_cost(acoustic)


class Writer:
    """Compact lattices as text, without transition ids, words spelled."""

    def __init__(self, file: IO[str], share: float = 0.0) -> None:
        self._file, self._share = file, share

    def write(self, lattice: Lattice) -> None:
        """The start's links come first: a reader takes the first node for the start."""
        self._file.write(f"{lattice.id}\n")
        for link in sorted(lattice.links, key=lambda own: (own.start != lattice.start, own.start)):
            word = link.word or "<eps>"
            self._file.write(f"{link.start} {link.end} {word} {self._costs(link)}\n")
        for node, final in lattice.finals.items():
            self._file.write(f"{node} {self._costs(final)}\n")
        self._file.write("\n")

    def _costs(self, own: Link | Final) -> str:
        graph = (1 - self._share) * own.lm + self._share * own.model
        return f"{to_cost(graph)!r},{to_cost(own.acoustic)!r},"
