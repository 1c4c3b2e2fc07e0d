"""Sources of text and their documents; bad input is named by file and place.

A source is a file with options, `FILE` or `FILE@option,option`; a folder, a pattern (`data/*.txt`)
or `-`, standard input. What kinds of files are read, `training/formats.py` says.

    lines      every line is a document of its own (unordered sentences); of dialogues, every turn,
               as text without its role
    turns      every turn of a dialogue is a dialogue of its own
    asr        as recognisers write: lower case, no punctuation but apostrophes
    asr=P      a share P of the documents (of the parts, in running text, as documents) that way
    also-asr   everything in both renderings
    repeat=N   N passes over the file in each epoch
    column=C   of a table: the column that holds the text
    key=K      of .jsonl and .json: the key of an object that holds the text
    text, jsonl, json, csv, tsv, parquet: read it as that, whatever its name says

Without `lines`, a text file is one running document whose lines are joined by "\\n"; a line is
stripped of white space at both ends, an empty line stays. A row of a table is a document, and so is
a .jsonl line: an object with "text", or a dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models.spoken_text import asr_text
from training.formats import (
    KINDS,
    CorpusError,
    Document,
    Turn,
    files_of_folder,
    kind_of,
    read_lines,
    read_records,
)

__all__ = [
    "OPTIONS",
    "CorpusError",
    "Document",
    "Source",
    "Turn",
    "asr_text",
    "empty_corpus",
    "parse_source",
    "parse_sources",
    "read_lines",
    "read_source",
    "read_sources",
]

OPTIONS = "lines, turns, asr, asr=P (0 < P < 1), also-asr, repeat=N, column=C, key=K, " + ", ".join(
    KINDS
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file and how it is read. kind: "" stands for what the file's name says."""

    path: Path
    lines: bool = False
    turns: bool = False
    asr_shares: tuple[float, ...] = (0.0,)  # one pass over the file for each
    repeat: int = 1
    column: str = ""
    key: str = "text"
    kind: str = ""

    @property
    def resolved_kind(self) -> str:
        """One of KINDS; CorpusError where the name tells none."""
        return self.kind or kind_of(self.path)


_FLAGS: dict[str, dict[str, object]] = {
    "lines": {"lines": True},
    "turns": {"turns": True},
    "asr": {"asr_shares": (1.0,)},
    "also-asr": {"asr_shares": (0.0, 1.0)},
    **{kind: {"kind": kind} for kind in KINDS},
}


def parse_source(argument: str, default: Source | None = None) -> Source:
    """`FILE@option,option` -> Source; `default` has the options that hold where none are given."""
    name, _, options = argument.partition("@")
    source = Source(path=Path(name)) if default is None else replace(default, path=Path(name))
    for option in filter(None, options.split(",")):
        changes = _FLAGS.get(option) or _valued(option)
        if changes is None:
            raise CorpusError(f"{argument}: unknown option {option!r}; choose from {OPTIONS}")
        source = replace(source, **changes)  # type: ignore[arg-type]
    if source.turns and (source.lines or source.resolved_kind not in ("jsonl", "json")):
        raise CorpusError(f"{argument}: turns goes with dialogues in .jsonl, and not with lines")
    many = source.repeat > 1 or len(source.asr_shares) > 1
    if str(source.path) == "-" and many:
        raise CorpusError(f"{argument}: standard input can be read once only")
    return source


def _valued(option: str) -> dict[str, object] | None:
    key, _, value = option.partition("=")
    if key == "asr" and re.fullmatch(r"0?\.\d+", value):
        return {"asr_shares": (float(value),)}
    if key == "repeat" and value.isdigit() and int(value) > 0:
        return {"repeat": int(value)}
    if key in ("column", "key") and value:
        return {key: value}
    return None


def parse_sources(arguments: Sequence[str], default: Source | None = None) -> list[Source]:
    """Sources of all arguments, folders and patterns spelled out in the order of names."""
    sources = []
    for argument in arguments:
        source = parse_source(argument, default)
        paths = _expanded(source.path)
        if paths == [source.path]:
            source.resolved_kind  # noqa: B018  an unknown kind is refused before anything is read
            sources.append(source)
        else:
            sources += [replace(source, path=path) for path in paths]
    return sources


def _expanded(path: Path) -> list[Path]:
    if path.is_dir():
        return files_of_folder(path)
    if re.search(r"[*?\[]", str(path)) and not path.exists():
        anchor = Path(path.anchor or ".")
        pattern = str(path.relative_to(anchor)) if path.anchor else str(path)
        found = sorted(p for p in anchor.glob(pattern) if p.is_file())
        if not found:
            raise CorpusError(f"{path}: no file fits this pattern")
        return found
    return [path]


def read_source(source: Source, *, part_bytes: int = 1 << 20) -> Iterator[Document]:
    """Documents of a source, long running text in parts of about `part_bytes`, all renderings."""
    for _ in range(source.repeat):
        for share in source.asr_shares:
            yield from _rendered(_read_documents(source, part_bytes), share)


def read_sources(sources: Iterable[Source]) -> Iterator[Document]:
    """Documents of all sources, one source after the other."""
    return (document for source in sources for document in read_source(source))


def empty_corpus(sources: Iterable[Source]) -> CorpusError:
    """The error to raise where none of the sources holds any text."""
    names = ", ".join(str(source.path) for source in sources)
    return CorpusError(f"the corpus is empty: {names} hold no text")


def _rendered(documents: Iterable[Document], share: float) -> Iterator[Document]:
    """A share of the documents as recognisers write, spread evenly.

    Where the rendering changes inside of running text, a document ends and another begins.
    """
    held, held_spoken = None, False
    for number, document in enumerate(documents):
        spoken = int((number + 1) * share) > int(number * share)
        if held is not None:
            changes = spoken != held_spoken
            yield replace(held, ends=held.ends or changes)
            document = replace(document, starts=document.starts or changes)
        held, held_spoken = render_asr(document) if spoken else document, spoken
    if held is not None:
        yield held


def _read_documents(source: Source, part_bytes: int) -> Iterator[Document]:
    kind = source.resolved_kind
    if kind != "text":
        for document in read_records(source.path, kind, column=source.column, key=source.key):
            yield from _parts(document, source)
    elif source.lines:
        yield from (Document(text=line) for line in read_lines(source.path) if line)
    else:
        yield from _running_text(read_lines(source.path), part_bytes)


def _parts(document: Document, source: Source) -> Iterator[Document]:
    """The document, or its turns one by one where the source asks for that."""
    if source.lines and document.turns:
        yield from (Document(text=turn.content) for turn in document.turns if turn.content)
    elif source.turns and document.turns:
        yield from (Document(turns=(turn,)) for turn in document.turns)
    else:
        yield document


def _running_text(lines: Iterator[str], part_bytes: int) -> Iterator[Document]:
    """One document in parts; every line, the last one too, is closed by a newline."""
    part: list[str] = []
    size, starts = 0, True
    for line in lines:
        if size > part_bytes:
            yield Document(text="\n".join(part) + "\n", starts=starts, ends=False)
            part, size, starts = [], 0, False
        part.append(line)
        size += len(line) + 1
    if part:
        yield Document(text="\n".join(part) + "\n", starts=starts)


def render_asr(document: Document) -> Document:
    """The document as a recogniser would write it."""
    turns = tuple(Turn(turn.role, asr_text(turn.content)) for turn in document.turns)
    return replace(document, text=asr_text(document.text), turns=turns)
