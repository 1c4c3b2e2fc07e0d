"""The kinds of files that text is read from, and what a document is in each.

    text     .txt .text .md .tokens .raw or no ending, and standard input
    jsonl    .jsonl .ndjson: a line is an object
    json     .json: an array of such objects
    csv tsv  .csv .tsv: the first row names the columns; a row is a document
    parquet  .parquet, and .arrow as Hugging Face `datasets` saves it (needs pyarrow)

An object is a text, `{"text": ...}`, or a dialogue: `turns` or OpenAI's `messages` of {"role",
"content"}, or ShareGPT's `conversations` of {"from", "value"}; a column of a parquet file may hold
such turns, too. Each file may be packed: .gz .xz .zst. A file of another kind is refused by name:
it is not text because it has bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import zstandard

ROLES = ("system", "user", "assistant")
KINDS: Mapping[str, tuple[str, ...]] = {
    "text": ("", ".txt", ".text", ".md", ".tokens", ".raw"),
    "jsonl": (".jsonl", ".ndjson"),
    "json": (".json",),
    "csv": (".csv",),
    "tsv": (".tsv",),
    "parquet": (".parquet", ".arrow"),
}
_PACKED = (".gz", ".xz", ".zst")
# How others name who speaks: OpenAI's "messages", ShareGPT's "from".
_ROLES = {role: role for role in ROLES} | {"developer": "system"}
_SPEAKERS = _ROLES | {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
# Where the turns of a dialogue stand, and what a turn's role and content are called.
_DIALOGUES = (
    ("turns", "role", "content"),
    ("messages", "role", "content"),
    ("conversations", "from", "value"),
)
_LARGEST_CELL = 1 << 27


class CorpusError(ValueError):
    """Text that cannot be used; the message names the file, the place and the fault."""


@dataclass(frozen=True)
class Turn:
    """What one side of a dialogue says. role: system, user or assistant."""

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


def kind_of(path: Path) -> str:
    """One of KINDS, by the file's name; CorpusError names what is read where it is none."""
    bare = Path(path.stem) if path.suffix.lower() in _PACKED else path
    suffix = bare.suffix.lower()
    if suffix[1:].isdigit():
        suffix = ""  # "text.1", a part of a numbered series
    for kind, suffixes in KINDS.items():
        if suffix in suffixes:
            return kind
    known = " ".join(s for suffixes in KINDS.values() for s in suffixes if s)
    raise CorpusError(
        f"{path}: {suffix} is no kind of file that is read ({known}, each also with "
        f"{' '.join(_PACKED)}); if it is plain text, say so with {path}@text"
    )


def files_of_folder(folder: Path) -> list[Path]:
    """What a folder holds, sorted; of a `datasets` folder its tables. Hidden files are left out."""
    if (folder / "dataset_dict.json").exists():
        splits = ", ".join(
            str(folder / part.name) for part in sorted(folder.iterdir()) if part.is_dir()
        )
        raise CorpusError(f"{folder} holds several splits of a data set: name one of {splits}")
    if (folder / "dataset_info.json").exists():
        found = _tables_of_data_set(folder)
    else:
        found = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    if not found:
        raise CorpusError(f"{folder} holds no file to read")
    for path in found:
        kind_of(path)
    return found


def _tables_of_data_set(folder: Path) -> list[Path]:
    """Those that `save_to_disk` names: what was computed from it later may lie beside, cached."""
    state = folder / "state.json"
    if not state.exists():
        return sorted(p for p in folder.iterdir() if p.suffix in KINDS["parquet"])
    try:
        names = [each["filename"] for each in json.loads(state.read_text("utf-8"))["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{state} names no _data_files: save the data set again") from error
    return [folder / Path(name).name for name in names]


def read_lines(path: Path) -> Iterator[str]:
    """Stripped lines of a UTF-8 file; packed files are unpacked on the way."""
    return (line.strip() for line in _decoded_lines(path))


def _decoded_lines(path: Path) -> Iterator[str]:
    for number, raw in enumerate(_raw_lines(path), 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{path}, line {number}: not UTF-8 ({error.reason} at byte {error.start} of the "
                "line); convert the file first"
            ) from error
        yield line.removeprefix("\ufeff") if number == 1 else line


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        if str(path) == "-":
            yield from sys.stdin.buffer
            return
        with _open(path) as file:
            yield from file
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.suffix == ".xz":
        return lzma.open(path, "rb")
    if path.suffix == ".zst":
        unpacked = zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), read_across_frames=True, closefd=True
        )
        return io.BufferedReader(cast(io.RawIOBase, unpacked))
    return path.open("rb")


def read_records(path: Path, kind: str, *, column: str, key: str) -> Iterator[Document]:
    """Documents of a file of any kind but text."""
    if kind == "jsonl":
        for number, line in enumerate(read_lines(path), 1):
            if line:
                where = f"{path}, line {number}"
                yield document_of(_parsed(where, line), where, key)
    elif kind == "json":
        value = _parsed(str(path), "".join(_decoded_lines(path)))
        if not isinstance(value, list):
            raise CorpusError(f"{path}: must hold an array of objects")
        for number, item in enumerate(value, 1):
            yield document_of(item, f"{path}, object {number}", key)
    elif kind == "parquet":
        yield from _parquet_documents(path, column)
    else:
        cells = _cells(path, kind, column)
        yield from (Document(text=cell.strip()) for cell in cells if cell.strip())


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CorpusError(f"{where}: not JSON ({error})") from error


def document_of(value: Any, where: str, key: str = "text") -> Document:
    """The document in a JSON object; CorpusError says what it lacks."""
    if isinstance(value, dict):
        if isinstance(value.get(key), str):
            return Document(text=value[key])
        for name, role, content in _DIALOGUES:
            turns = value.get(name)
            if isinstance(turns, list) and turns:
                return Document(turns=tuple(_turn(turn, role, content, where) for turn in turns))
    held = f"; it has {', '.join(map(repr, value))}" if isinstance(value, dict) and value else ""
    raise CorpusError(
        f'{where}: needs {json.dumps(key)} or a non-empty list "turns" (also read are "messages" '
        f'and "conversations"){held}; name another key with --text-key or @key=K'
    )


def _turn(turn: Any, role_key: str, content_key: str, where: str) -> Turn:
    content = turn.get(content_key) if isinstance(turn, dict) else None
    if isinstance(content, list):  # OpenAI's content parts
        if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            raise CorpusError(f"{where}: a turn's content has parts that are not text")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise CorpusError(f'{where}: every turn needs a string "{content_key}"')
    role = (_SPEAKERS if role_key == "from" else _ROLES).get(str(turn.get(role_key)))
    if role is None:
        raise CorpusError(f"{where}: role {turn.get(role_key)!r} is not one of {', '.join(ROLES)}")
    return Turn(role, content.strip())


def _cells(path: Path, kind: str, column: str) -> Iterator[str]:
    csv.field_size_limit(_LARGEST_CELL)
    lines = _decoded_lines(path)
    rows = (
        csv.reader(lines)
        if kind == "csv"
        else csv.reader(lines, "excel-tab", quoting=csv.QUOTE_NONE)
    )
    try:
        place = _place(path, next(rows, []), column)
        for row in rows:
            if len(row) > place:
                yield row[place]
            elif row:
                raise CorpusError(f"{path}, line {rows.line_num}: the row ends before its text")
    except csv.Error as error:
        raise CorpusError(f"{path}, line {rows.line_num}: {error}") from error


def _place(path: Path, names: list[str], column: str) -> int:
    """Where the text stands in a row."""
    wanted = column or ("text" if "text" in names else names[0] if len(names) == 1 else "")
    if wanted not in names:
        asked = f"there is no column {column!r}" if column else "which column holds the text?"
        raise CorpusError(
            f"{path}: {asked} Name one of {', '.join(map(repr, names))} with --column or @column=C"
        )
    return names.index(wanted)


def _parquet_documents(path: Path, column: str) -> Iterator[Document]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise CorpusError(
            f"{path}: reading it needs pyarrow: pip install 'lstm-serve[data]'"
        ) from error
    try:
        if path.suffix == ".arrow":
            with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as stream:
                yield from _rows_of_batches(path, stream.schema.names, stream, column)
        else:
            table = pq.ParquetFile(path)
            names = table.schema_arrow.names
            yield from _rows_of_batches(path, names, table.iter_batches(), column)
    except (OSError, pa.ArrowInvalid) as error:
        raise CorpusError(f"{path} cannot be read: {error}") from error


def _rows_of_batches(
    path: Path, names: list[str], batches: Iterable[Any], column: str
) -> Iterator[Document]:
    """A document a row: of the column named, or the dialogue where there is no column of text."""
    dialogues = [name for name, *_ in _DIALOGUES if name in names and column in ("", name)]
    dialogue = "" if "text" in names and not column else next(iter(dialogues), "")
    place = names.index(dialogue) if dialogue else _place(path, names, column)
    number = 0
    for batch in batches:
        for cell in batch.column(place).to_pylist():
            number += 1
            if dialogue and cell:
                yield document_of({dialogue: _listed(cell)}, f"{path}, row {number}")
            elif cell and not isinstance(cell, str):
                raise CorpusError(f"{path}: column {names[place]!r} holds no text")
            elif isinstance(cell, str) and cell.strip():
                yield Document(text=cell.strip())


def _listed(turns: Any) -> Any:
    """Turns as a list of objects; older data sets hold an object of lists."""
    if not isinstance(turns, dict):
        return turns
    return [dict(zip(turns, values, strict=True)) for values in zip(*turns.values(), strict=True)]
