"""One reading of a corpus: a sample of its lines for the tokenizer's trainer, all of it kept.

A shard cannot be written before there is a tokenizer, and the tokenizer is trained on lines drawn
from the whole corpus. Unpacking, parsing and rendering a corpus costs as much as encoding it, so
what was read for the sample is kept on disk, in the form that the encoder takes.
"""

from __future__ import annotations

import heapq
import pickle
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from training.corpus import Document
from training.shards import blocks


class LineSample:
    """Lines drawn evenly from a text of unknown length; the same for the same seed.

    Every line draws a number, and the lowest are kept: as many as fit into `sample_bytes` (counted
    in characters), in the order of the text. Memory is that of the sample.
    """

    def __init__(self, sample_bytes: int, seed: int) -> None:
        self.sample_bytes = sample_bytes
        self._draw = random.Random(seed)
        self._kept: list[tuple[float, int, str]] = []  # (-number drawn, place, line), a heap
        self._size = self._seen = 0

    def add(self, document: Document) -> None:
        """Offer the lines of a document, of a dialogue its turns; empty ones do not count."""
        texts = [turn.content for turn in document.turns] or document.text.split("\n")
        for line in filter(None, texts):
            heapq.heappush(self._kept, (-self._draw.random(), self._seen, line))
            self._seen += 1
            self._size += len(line)
            while self._size > self.sample_bytes and len(self._kept) > 1:
                self._size -= len(heapq.heappop(self._kept)[2])

    def lines(self) -> list[str]:
        return [line for _, _, line in sorted(self._kept, key=lambda kept: kept[1])]


class KeptDocuments:
    """Documents on disk, written once and read again as often as wanted; gone with the context."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> KeptDocuments:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.path.unlink(missing_ok=True)

    def keep(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents themselves, kept while they pass by."""
        with self.path.open("wb") as file:
            for block in blocks(documents):
                pickle.dump(block, file, pickle.HIGHEST_PROTOCOL)
                yield from block

    def __iter__(self) -> Iterator[Document]:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            while file.tell() < size:
                yield from pickle.load(file)
