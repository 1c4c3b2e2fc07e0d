"""The asyncio side of an engine: one queue a request, wherever the engine works."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping

from service.engine.interface import EngineInfo, EngineUnavailableError, QueueFullError
from service.engine.request import Request, RequestOutput
from service.engine.worker import Abort, Add, Command, StopSample


class EngineFront(ABC):
    """Implements what thread and process engines share of `AsyncEngine`.

    max_waiting: requests that may wait beyond the `max_num_seqs` that may run.
    """

    def __init__(self, max_num_seqs: int, max_waiting: int) -> None:
        self._limit = max_num_seqs + max_waiting
        self._queues: dict[str, asyncio.Queue[RequestOutput | Exception]] = {}
        self._stats: Mapping[str, float] = {}
        self._info: EngineInfo | None = None
        self._ready = self._draining = False

    @property
    def info(self) -> EngineInfo:
        assert self._info is not None, "the engine was not started"
        return self._info

    @property
    def is_ready(self) -> bool:
        return self._ready and not self._draining

    @property
    def num_requests(self) -> int:
        """Requests in flight."""
        return len(self._queues)

    def stats(self) -> Mapping[str, float]:
        return self._stats

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def _end(self) -> None:
        """Release the worker, its requests being over or given up."""

    @abstractmethod
    def _send(self, command: Command) -> None: ...

    async def stop(self, grace_s: float) -> None:
        """Refuse new work, let the rest finish for `grace_s` seconds, then give it up."""
        self._draining = True
        deadline = asyncio.get_running_loop().time() + grace_s
        while self._queues and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        self._give_up("the server is shutting down")
        await self._end()

    async def submit(self, request: Request) -> AsyncGenerator[RequestOutput, None]:
        if not self.is_ready:
            raise EngineUnavailableError("the engine is not ready: it is starting or stopping")
        if len(self._queues) >= self._limit:
            raise QueueFullError(
                f"{self._limit} requests are in work or waiting, which is the limit", retry_after=1
            )
        queue: asyncio.Queue[RequestOutput | Exception] = asyncio.Queue()
        self._queues[request.request_id] = queue
        finished = False
        try:
            self._send(Add((request,)))
            while not finished:
                output = await queue.get()
                if isinstance(output, Exception):
                    finished = True
                    raise output
                finished = output.finished
                yield output
        finally:
            self._queues.pop(request.request_id, None)
            if not finished:
                self._send(Abort((request.request_id,)))

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        if request_id in self._queues:
            self._send(StopSample((request_id, prompt, sample)))

    def _dispatch(self, outputs: Iterable[RequestOutput], stats: Mapping[str, float]) -> None:
        """Hand outputs to their requests; those of requests that went away are dropped."""
        self._stats = stats
        for output in outputs:
            if (queue := self._queues.get(output.request_id)) is not None:
                queue.put_nowait(output)

    def _give_up(self, reason: str) -> None:
        """End every request in flight with an error that tells it may be sent again."""
        for queue in self._queues.values():
            queue.put_nowait(EngineUnavailableError(reason))
