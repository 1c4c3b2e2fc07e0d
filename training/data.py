"""Token ids on disk and the windows that training reads from them.

Ids go to one memory-mapped file, so a corpus larger than memory costs no memory. A document is
begin + text + end; a dialogue is begin + (role + content + end-of-turn)* + end.
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

from models.tokenizer import Tokenizer
from training.corpus import CorpusError, Document, Source, read_source

_BLOCK_BYTES = 1 << 20


def encode_document(tokenizer: Tokenizer, document: Document) -> list[int]:
    """Ids of a document with its control tokens."""
    ids = [tokenizer.bos_id] if document.starts else []
    if document.turns:
        end = tokenizer.control_ids["<|end|>"]
        for turn in document.turns:
            ids += [tokenizer.control_ids[f"<|{turn.role}|>"], *tokenizer.encode(turn.content), end]
    else:
        ids += tokenizer.encode(document.text)
    if document.ends:
        ids.append(tokenizer.eos_id)
    return ids


class _Worker:
    """Encodes blocks of documents in a process of its own."""

    tokenizer: Tokenizer

    @classmethod
    def load(cls, model_bytes: bytes) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
        cls.tokenizer = Tokenizer.from_bytes(model_bytes)

    @classmethod
    def encode(cls, block: Sequence[Document]) -> NDArray[np.uint32]:
        return _encode_block(cls.tokenizer, block)


def _encode_block(tokenizer: Tokenizer, block: Sequence[Document]) -> NDArray[np.uint32]:
    return np.concatenate([np.array(encode_document(tokenizer, d), np.uint32) for d in block])


def _encoded(
    documents: Iterable[Document], tokenizer: Tokenizer, processes: int
) -> Iterator[NDArray[np.uint32]]:
    """Ids of all documents, block by block in order, whatever the number of processes."""
    if processes == 1:
        yield from (_encode_block(tokenizer, block) for block in _blocks(documents))
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes, _Worker.load, (tokenizer.model_bytes,)) as pool:
        yield from pool.imap(_Worker.encode, _blocks(documents))


def _blocks(documents: Iterable[Document]) -> Iterator[list[Document]]:
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


def write_tokens(
    sources: Sequence[Source], tokenizer: Tokenizer, path: Path, *, processes: int = 1
) -> Path:
    """Encode `sources` into the file `path`, unless it already holds just that; returns it.

    Blocks are encoded side by side and written in order, so the file does not depend on
    `processes`.
    """
    fingerprint = _fingerprint(sources, tokenizer)
    record = path.with_suffix(".json")
    if record.exists() and path.exists() and json.loads(record.read_text()) == fingerprint:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    dtype = token_dtype(tokenizer.vocab_size)
    documents = (document for source in sources for document in read_source(source))
    with path.open("wb") as file:
        for ids in _encoded(documents, tokenizer, processes):
            file.write(ids.astype(dtype).tobytes())
    if path.stat().st_size == 0:
        names = ", ".join(str(source.path) for source in sources)
        raise CorpusError(f"the corpus is empty: {names} hold no text")
    record.write_text(json.dumps(fingerprint))
    return path


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def _fingerprint(sources: Sequence[Source], tokenizer: Tokenizer) -> dict[str, object]:
    files = []
    for source in sources:
        try:
            status = source.path.stat()
        except OSError as error:
            raise CorpusError(f"{source.path} cannot be read: {error.strerror}") from error
        files.append([repr(source), status.st_size, status.st_mtime_ns])
    return {"files": files, "tokenizer": hashlib.sha256(tokenizer.model_bytes).hexdigest()}


@dataclass
class Position:
    """Where training stands in the data: which pass, and how far into each stream."""

    epoch: int = 0
    offset: int = 0


class TokenStreams:
    """A token file cut into `batch_size` parallel streams, read window by window.

    Streams run on from window to window, so a carried state always continues its own text. Each
    pass begins at another point of the file, drawn from the seed, so that streams are cut at other
    places. `position` is all there is to save.
    """

    def __init__(self, path: Path, vocab_size: int, batch_size: int, seed: int) -> None:
        self.tokens = np.memmap(path, token_dtype(vocab_size), mode="r")
        self.batch_size, self.seed, self.position = batch_size, seed, Position()
        self.stream_length = len(self.tokens) // batch_size
        if self.stream_length < 2:
            raise CorpusError(
                f"the corpus has {len(self.tokens)} tokens, too few for batch_size {batch_size}: "
                "lower loop.batch_size or add text"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def window(self, bptt: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Next inputs and targets, (T, B) each with T <= bptt, and move on."""
        if self.position.offset >= self.stream_length - 1:
            self.position = Position(self.position.epoch + 1, 0)
        start = self.position.offset
        stop = min(start + bptt, self.stream_length - 1)
        self.position.offset = stop
        firsts = self._rotation() + self.stream_length * np.arange(self.batch_size) + start
        ids = np.stack([self._read(int(first), stop + 1 - start) for first in firsts], axis=1)
        return ids[:-1], ids[1:]

    def _rotation(self) -> int:
        if self.position.epoch == 0:
            return 0
        draw = np.random.default_rng([self.seed, self.position.epoch])
        return int(draw.integers(self.stream_length * self.batch_size))

    def _read(self, first: int, count: int) -> NDArray[np.int64]:
        """`count` ids from `first` on, in the file taken as a ring."""
        total = self.stream_length * self.batch_size
        first %= total
        ids = self.tokens[first : min(first + count, total)]
        if len(ids) < count:
            ids = np.concatenate([ids, self.tokens[: count - len(ids)]])
        return ids.astype(np.int64)
