"""Token ids on disk: a corpus becomes one flat file, written once.

A document is begin + text + end; a dialogue is begin + (role + content + end-of-turn)* + end.
Where only the assistant's turns are to be learnt, a file beside it holds a byte for every token: 1
where the token counts as a prediction.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.chat_template import ChatTemplate
from models.tokenizer import Tokenizer
from training.corpus import CorpusError, Document, Source, empty_corpus, read_sources

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """`tokens`: the file of ids; `counted`: that of the bytes, None where every token counts."""

    tokens: Path
    counted: Path | None
    vocab_size: int

    @property
    def num_tokens(self) -> int:
        return self.tokens.stat().st_size // np.dtype(token_dtype(self.vocab_size)).itemsize

    def read(self, limit: int = -1) -> NDArray[np.unsignedinteger]:
        """The first `limit` ids, or all."""
        return np.fromfile(self.tokens, token_dtype(self.vocab_size), count=limit)


@dataclass(frozen=True)
class Encoded:
    """Ids of a text, and which of them count, both (N,)."""

    ids: NDArray[np.uint32]
    counted: NDArray[np.uint8]


def encode_documents(tokenizer: Tokenizer, documents: Iterable[Document]) -> Encoded:
    """Ids of documents with their control tokens, one after the other.

    Counted are running text, and of a dialogue what the assistant says and its end-of-turn: what
    a chat asks the model for.
    """
    # Arrays are made once for all: of short documents they would cost as much as the encoding.
    ids, counted = list[int](), bytearray()
    template = ChatTemplate.of(tokenizer)
    for document in documents:
        _append(template, document, ids, counted)
    return Encoded(np.array(ids, np.uint32), np.frombuffer(counted, np.uint8))


def _append(template: ChatTemplate, document: Document, ids: list[int], counted: bytearray) -> None:
    tokenizer = template.tokenizer
    if document.starts:
        ids.append(tokenizer.bos_id)
    for turn in document.turns:
        counted.extend(bytes(len(ids) + 1 - len(counted)))  # the role is given
        ids += template.turn(turn.role, turn.content)
        counts = turn.role == "assistant"
        counted.extend((b"\1" if counts else b"\0") * (len(ids) - len(counted)))
    if not document.turns:
        ids += tokenizer.encode(document.text)
    if document.ends:
        ids.append(tokenizer.eos_id)
    counted.extend((b"\0" if document.turns else b"\1") * (len(ids) - len(counted)))


def write_shard(
    sources: Sequence[Source],
    tokenizer: Tokenizer,
    path: Path,
    *,
    documents: Iterable[Document] | None = None,
    assistant_only: bool = False,
    processes: int = 1,
    part: str = "",
) -> Shard:
    """Encode `sources` into the file `path`, unless it already holds just that.

    `documents` are what the sources hold, where they have been read already. Blocks are encoded
    side by side and written in order, so the files do not depend on `processes`.
    """
    counted = path.with_suffix(".counted") if assistant_only else None
    shard = Shard(path, counted, tokenizer.vocab_size)
    wanted = fingerprint(sources, tokenizer, assistant_only, part)
    record = path.with_suffix(".json")
    if record.exists() and path.exists() and json.loads(record.read_text()) == wanted:
        return shard
    path.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    read = read_sources(sources) if documents is None else documents
    _write(shard, _encoded(read, tokenizer, processes))
    if path.stat().st_size == 0:
        raise empty_corpus(sources)
    record.write_text(json.dumps(wanted))
    return shard


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    """The smallest type of shards that holds every id."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def _write(shard: Shard, blocks: Iterable[Encoded]) -> None:
    dtype = token_dtype(shard.vocab_size)
    with shard.tokens.open("wb") as tokens:
        if shard.counted is None:
            for block in blocks:
                tokens.write(block.ids.astype(dtype).tobytes())
            return
        with shard.counted.open("wb") as counted:
            for block in blocks:
                tokens.write(block.ids.astype(dtype).tobytes())
                counted.write(block.counted.tobytes())


class _Worker:
    """Encodes blocks of documents in a process of its own."""

    tokenizer: Tokenizer

    @classmethod
    def load(cls, model_bytes: bytes) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
        cls.tokenizer = Tokenizer.from_bytes(model_bytes)

    @classmethod
    def encode(cls, block: Sequence[Document]) -> Encoded:
        return encode_documents(cls.tokenizer, block)


def _encoded(
    documents: Iterable[Document], tokenizer: Tokenizer, processes: int
) -> Iterator[Encoded]:
    """All documents block by block in order, whatever the number of processes."""
    if processes == 1:
        yield from (encode_documents(tokenizer, block) for block in blocks(documents))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _Worker.load, (tokenizer.model_bytes,)) as pool:
        yield from pool.imap(_Worker.encode, blocks(documents))


def blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """The documents in lists of about a megabyte of text each."""
    block: list[Document] = []
    size = 0
    for document in documents:
        block.append(document)
        size += len(document.text) + sum(len(turn.content) + 16 for turn in document.turns)
        if size > _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def fingerprint(
    sources: Sequence[Source], tokenizer: Tokenizer, assistant_only: bool, part: str = ""
) -> dict[str, object]:
    """What a shard was made of; it stands beside it. part: which of the documents, if not all."""
    files = []
    for source in sources:
        if str(source.path) == "-":
            files.append([repr(source), 0, 0])
            continue
        try:
            status = source.path.stat()
        except OSError as error:
            raise CorpusError(f"{source.path} cannot be read: {error.strerror}") from error
        files.append([repr(source), status.st_size, status.st_mtime_ns])
    digest = hashlib.sha256(tokenizer.model_bytes).hexdigest()
    return {"files": files, "tokenizer": digest, "assistant_only": assistant_only, "part": part}
