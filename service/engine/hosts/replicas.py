"""Several engines of one model behind the interface of one."""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import numpy as np

from service.engine.hosts.async_engine import (
    CheckpointReplacedError,
    EngineFront,
    EngineInfo,
    EngineUnavailableError,
)
from service.engine.request import EngineRequest, Floats, RequestOutput
from service.engine.stats import EngineStats

_HEADER_BYTES = 16  # the table's shape, two 64-bit integers


def create_table_file() -> int:
    """File descriptor of an anonymous file in memory, to be inherited by the engines."""
    return os.memfd_create("lstm-serve-table")


def shared_table(descriptor: int, compute: Callable[[], Floats]) -> Floats:
    """The table in the file; whoever comes first computes it, the others wait and map it."""
    # Opened anew: a lock belongs to an opening of the file, and inherited descriptors are all of
    # the same one.
    with Path(f"/proc/self/fd/{descriptor}").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not any(file.read(_HEADER_BYTES)):
            table = np.ascontiguousarray(compute())
            file.seek(_HEADER_BYTES)
            file.write(table.data)
            file.flush()
            file.seek(0)  # the header comes last, so that a table cut short does not count
            file.write(np.array(table.shape, np.int64).tobytes())
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    rows, columns = np.frombuffer(mapped, np.int64, 2).tolist()
    values = np.frombuffer(mapped, np.float32, rows * columns, offset=_HEADER_BYTES)
    return values.reshape(rows, columns)


class ReplicatedEngine:
    """Each request goes to the ready engine with the fewest in flight. Implements `AsyncEngine`.

    table_file: what the engines share (see shared_table.py), closed when they have stopped.
    """

    def __init__(self, engines: Sequence[EngineFront], table_file: int | None = None) -> None:
        self._engines, self._table_file = list(engines), table_file
        self._serving: dict[str, EngineFront] = {}

    @property
    def info(self) -> EngineInfo:
        return self._engines[0].info

    @property
    def is_ready(self) -> bool:
        return any(engine.is_ready for engine in self._engines)

    @property
    def fault(self) -> Exception | None:
        """Of the first engine that has one."""
        return next((e.fault for e in self._engines if e.fault is not None), None)

    @property
    def num_restarts(self) -> int:
        """Of all together."""
        return sum(engine.num_restarts for engine in self._engines)

    async def start(self) -> None:
        await asyncio.gather(*(engine.start() for engine in self._engines))
        if len({engine.info.digest for engine in self._engines}) > 1:
            raise CheckpointReplacedError("the checkpoint was replaced while its engines started")

    async def stop(self, grace_s: float) -> None:
        await asyncio.gather(*(engine.stop(grace_s) for engine in self._engines))
        if self._table_file is not None:
            os.close(self._table_file)
            self._table_file = None

    async def submit(self, request: EngineRequest) -> AsyncGenerator[RequestOutput, None]:
        ready = [engine for engine in self._engines if engine.is_ready]
        if not ready:
            raise EngineUnavailableError("no engine is ready: they are starting or stopping")
        engine = min(ready, key=lambda engine: engine.num_requests)
        self._serving[request.request_id] = engine
        outputs = engine.submit(request)
        try:
            async for output in outputs:
                yield output
        finally:
            await outputs.aclose()
            self._serving.pop(request.request_id, None)

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        if (engine := self._serving.get(request_id)) is not None:
            engine.stop_sample(request_id, prompt, sample)

    def stats(self) -> EngineStats:
        """Sums over the engines."""
        return sum((engine.stats() for engine in self._engines), EngineStats())
