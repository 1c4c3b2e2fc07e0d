"""Windows of truncated back-propagation through time, read from a shard of token ids."""

from __future__ import annotations

import os
import random
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.corpus import CorpusError
from training.shards import Shard, token_dtype


@dataclass
class Position:
    """Where training stands in the data: which pass, and how far into each stream."""

    epoch: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Window:
    """T steps of B streams.

    inputs: (T, B) ids. targets: (N,) next ids of the positions that count, by time and stream.
    rows: (N,) indices of those positions among the T * B; None where all count. num_counted:
    the positions that count over all processes of the run.
    """

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    rows: NDArray[np.int64] | None
    num_counted: int


class TokenStreams:
    """A shard cut into `batch_size` parallel streams, read window by window.

    Streams run on from window to window, so a carried state always continues its own text. Each
    pass begins at another point of the file, drawn from the seed, so that streams are cut at other
    places. `position` is all there is to save. `mine` are the streams that this process reads.
    """

    def __init__(self, shard: Shard, batch_size: int, seed: int, mine: slice = slice(None)) -> None:
        self.tokens = _Entries(shard.tokens, np.dtype(token_dtype(shard.vocab_size)))
        self.counted = _Entries(shard.counted, np.dtype(np.uint8)) if shard.counted else None
        self.batch_size, self.seed, self.mine = batch_size, seed, mine
        self.position = Position()
        self.stream_length = len(self.tokens) // batch_size
        if self.stream_length < 2:
            raise CorpusError(
                f"the corpus has {len(self.tokens)} tokens, too few for batch_size {batch_size}: "
                "lower loop.batch_size or add text"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def num_mine(self) -> int:
        """Streams that this process reads."""
        return len(range(self.batch_size)[self.mine])

    @property
    def ended(self) -> bool:
        """Whether the pass is over; the next window begins another."""
        return self.position.offset >= self.stream_length - 1

    def window(self, bptt: int) -> Window:
        """The next T <= bptt steps, and move on."""
        if self.ended:
            self.position = Position(self.position.epoch + 1, 0)
        start = self.position.offset
        stop = min(start + bptt, self.stream_length - 1)
        self.position.offset = stop
        first = self._rotation() + self.stream_length * np.arange(self.batch_size) + start
        length = stop + 1 - start
        ids = self._read(self.tokens, first[self.mine], length).astype(np.int64)
        targets = ids[1:].flatten()
        if self.counted is None:
            return Window(ids[:-1], targets, None, (length - 1) * self.batch_size)
        counted = self._read(self.counted, first, length)[1:]
        rows = np.flatnonzero(counted[:, self.mine])
        return Window(ids[:-1], targets[rows], rows, int(counted.sum()))

    def _rotation(self) -> int:
        if self.position.epoch == 0:
            return 0
        draw = np.random.default_rng([self.seed, self.position.epoch])
        return int(draw.integers(self.stream_length * self.batch_size))

    def _read(
        self, file: _Entries, firsts: NDArray[np.int64], count: int
    ) -> NDArray[np.unsignedinteger]:
        """`count` entries from each of `firsts` on, (count, len(firsts)); the file is a ring."""
        total = self.stream_length * self.batch_size
        columns = []
        for first in (firsts % total).tolist():
            column = file.read(first, min(count, total - first))
            if len(column) < count:
                column = np.concatenate([column, file.read(0, count - len(column))])
            columns.append(column)
        return np.stack(columns, axis=1)


class _Entries:
    """A file of numbers, read a few at a time.

    Not mapped into memory: all pages of a mapped file that were ever touched would count as the
    process's own, and a memory limit could end a run on a corpus larger than it.
    """

    def __init__(self, path: Path, dtype: np.dtype[np.unsignedinteger]) -> None:
        self.file, self.dtype = os.open(path, os.O_RDONLY), dtype
        self.length = os.fstat(self.file).st_size // dtype.itemsize
        weakref.finalize(self, os.close, self.file)

    def __len__(self) -> int:
        return self.length

    def read(self, first: int, count: int) -> NDArray[np.unsignedinteger]:
        size = self.dtype.itemsize
        return np.frombuffer(os.pread(self.file, count * size, first * size), self.dtype)


def window_length(bptt: int, variable: bool, seed: int, step: int) -> int:
    """Steps of the window at `step`: `bptt`, or drawn around it (Merity et al. 2018).

    Drawn are bptt, or half of it once in 20 times, with a spread of 5, so that windows end at
    other places of the text in each pass.
    """
    if not variable:
        return bptt
    draw = random.Random(f"{seed} {step}")
    centre = bptt if draw.random() < 0.95 else bptt / 2
    return max(5, round(draw.gauss(centre, 5)))
