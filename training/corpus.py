"""Reading text: plain, jsonl, dialogues; .gz and .xz; bad input named by file and place.

A source is a file with options: `FILE` or `FILE@option,option`.

    lines      every line is a document of its own (unordered sentences); of dialogues, every turn,
               as text without its role
    turns      every turn of a dialogue is a dialogue of its own
    asr        as recognisers write: lower case, no punctuation but apostrophes
    asr=P      a share P of the documents (of the parts, in running text, as documents) that way
    also-asr   everything in both renderings
    repeat=N   N passes over the file in each epoch

Without `lines`, a text file is one running document whose lines are joined by "\\n"; a line is
stripped of white space at both ends, an empty line stays. A .jsonl line is a document: an object
with "text", or a dialogue with "turns" of {"role", "content"}.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from models.spoken_text import asr_text

ROLES = ("system", "user", "assistant")
OPTIONS = "lines, turns, asr, asr=P (0 < P < 1), also-asr, repeat=N"


class CorpusError(ValueError):
    """Text that cannot be used; the message names the file, the place and the fault."""


@dataclass(frozen=True)
class Turn:
    role: str
    content: str


@dataclass(frozen=True)
class Document:
    """Running text, or a dialogue when `turns` is given.

    `starts`/`ends` tell whether this part opens or closes its document: long ones come in parts.
    """

    text: str = ""
    turns: tuple[Turn, ...] = ()
    starts: bool = True
    ends: bool = True


@dataclass(frozen=True, kw_only=True)
class Source:
    path: Path
    lines: bool = False
    turns: bool = False
    asr_shares: tuple[float, ...] = (0.0,)  # one pass over the file for each
    repeat: int = 1


def parse_source(argument: str) -> Source:
    """`FILE@option,option` -> Source."""
    name, _, options = argument.partition("@")
    source = Source(path=Path(name))
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if option == "lines":
            source = replace(source, lines=True)
        elif option == "turns":
            source = replace(source, turns=True)
        elif option == "asr":
            source = replace(source, asr_shares=(1.0,))
        elif option == "also-asr":
            source = replace(source, asr_shares=(0.0, 1.0))
        elif key == "asr" and re.fullmatch(r"0?\.\d+", value):
            source = replace(source, asr_shares=(float(value),))
        elif key == "repeat" and value.isdigit() and int(value) > 0:
            source = replace(source, repeat=int(value))
        else:
            raise CorpusError(f"{argument}: unknown option {option!r}; choose from {OPTIONS}")
    if source.turns and (source.lines or ".jsonl" not in source.path.suffixes):
        raise CorpusError(f"{argument}: turns goes with dialogues in .jsonl, and not with lines")
    return source


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
    lines = read_lines(source.path)
    if ".jsonl" in source.path.suffixes:
        for number, line in enumerate(lines, 1):
            if line:
                yield from _parts(_parse_json(source.path, number, line), source)
    elif source.lines:
        yield from (Document(text=line) for line in lines if line)
    else:
        yield from _running_text(lines, part_bytes)


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


def read_lines(path: Path) -> Iterator[str]:
    """Stripped lines of a UTF-8 file; .gz and .xz are unpacked on the way."""
    for number, raw in enumerate(_raw_lines(path), 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start} of the "
                "line); convert the file first"
            ) from error
        yield line.removeprefix("\ufeff").strip() if number == 1 else line.strip()


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            yield from file
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")


def _parse_json(path: Path, number: int, line: str) -> Document:
    where = f"{path}, line {number}"
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{where}: not JSON ({error})") from error
    if isinstance(value, dict) and isinstance(value.get("text"), str):
        return Document(text=value["text"])
    turns = value.get("turns") if isinstance(value, dict) else None
    if not isinstance(turns, list) or not turns:
        raise CorpusError(f'{where}: needs "text" or a non-empty list "turns"')
    parsed = []
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            raise CorpusError(f'{where}: every turn needs a string "content"')
        if turn.get("role") not in ROLES:
            raise CorpusError(
                f"{where}: role {turn.get('role')!r} is not one of {', '.join(ROLES)}"
            )
        parsed.append(Turn(turn["role"], turn["content"].strip()))
    return Document(turns=tuple(parsed))


def render_asr(document: Document) -> Document:
    """The document as a recogniser would write it."""
    turns = tuple(Turn(turn.role, asr_text(turn.content)) for turn in document.turns)
    return replace(document, text=asr_text(document.text), turns=turns)
