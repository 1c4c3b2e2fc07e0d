"""What the API layer sees of an engine, wherever it runs (thread, process, many of them).

`EngineFront` is the asyncio side that thread and process share: one inbox a request.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from service.engine.hosts.commands import Abort, Add, Command, Hold, Resume, StopSample
from service.engine.hosts.wire import with_prompts
from service.engine.request import EngineRequest, RequestOutput
from service.engine.stats import EngineStats

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "int8", "fp32"]
Mode = Literal["process", "thread"]

# Tokens that may lie here untaken: of a request, and for each continuation of it. More than any
# burst brings; a client that reads slower than that has its request rest in the meantime.
_MOST_UNTAKEN, _MOST_UNTAKEN_EACH = 256, 32


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """One engine's settings.

    max_num_seqs: rows that advance together in one step.
    max_waiting: requests that may wait before a new one is refused.
    burst_s: seconds that streams may advance before their tokens are sent on, while nobody waits.
    cache_bytes: bound of the state cache of each engine; 0 switches it off.
    threads: intra-operator threads of each engine.
    replicas: engine processes for one model (process mode).
    timeout_s: silence after which an engine process counts as hung and is replaced.
    """

    device: Device = "auto"
    precision: Precision = "auto"
    mode: Mode = "process"
    replicas: int = 1
    max_num_seqs: int = 128
    max_waiting: int = 256
    burst_s: float = 0.02
    cache_bytes: int = 64 << 20
    threads: int = 1
    timeout_s: float = 10.0


class EngineUnavailableError(RuntimeError):
    """The engine is starting, draining or died; the request may be sent again later.

    retry_after: seconds until that may be worth while.
    """

    def __init__(self, message: str, retry_after: float = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CheckpointReplacedError(RuntimeError):
    """The folder holds another checkpoint than the one that this engine was made for."""


class QueueFullError(RuntimeError):
    """The waiting queue is at its bound; nothing of the request was computed."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """Facts for `/v1/models/{id}` and for sealing states."""

    digest: str
    device: str
    precision: str
    vocab_size: int
    state_size: int


class AsyncEngine(Protocol):
    """One model, ready to compute. All methods are called from the event loop's thread."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def is_ready(self) -> bool:
        """False while loading, restarting or draining."""
        ...

    @property
    def fault(self) -> Exception | None:
        """Why the engine is down, as its last attempt to start had it; None while all is well."""
        ...

    @property
    def num_restarts(self) -> int:
        """Times that it died or hung, and was started again."""
        ...

    async def start(self) -> None:
        """Load the model; returns when it is ready, raises if it cannot be."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Let the work in flight finish for at most `grace_s` seconds, then end."""
        ...

    def submit(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        """Outputs of `request` until one has `finished`.

        Raises QueueFullError / EngineUnavailableError at the first iteration. Closing the
        iterator early (a client that went away) aborts the request within one step.
        """
        ...

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        """End one continuation early (its text met a stop string); the others go on.

        Tokens already on their way may still arrive; no finish_reason is sent for it.
        """
        ...

    def stats(self) -> EngineStats:
        """Counters and gauges, for the metrics page."""
        ...


class _Inbox:
    """The outputs of one request on their way to who asked for it."""

    def __init__(self, request: EngineRequest) -> None:
        sampling = request.sampling
        count = 0 if sampling is None else len(request.prompts) * sampling.n
        self._most = _MOST_UNTAKEN + _MOST_UNTAKEN_EACH * count
        self._queue: asyncio.Queue[RequestOutput | Exception] = asyncio.Queue()
        self._num_tokens = 0
        self.is_held = False

    def put(self, output: RequestOutput | Exception) -> None:
        if isinstance(output, RequestOutput):
            self._num_tokens += len(output.tokens)
        self._queue.put_nowait(output)

    async def get(self) -> RequestOutput | Exception:
        output = await self._queue.get()
        if isinstance(output, RequestOutput):
            self._num_tokens -= len(output.tokens)
        return output

    @property
    def is_full(self) -> bool:
        """Whether more should not come for now."""
        return self._num_tokens > self._most

    @property
    def has_room(self) -> bool:
        """Whether more may come again."""
        return self._num_tokens <= self._most // 2


class EngineFront(ABC):
    """Implements what thread and process engines share of `AsyncEngine`.

    max_waiting: requests that may wait beyond the `max_num_seqs` that may run.
    """

    def __init__(self, max_num_seqs: int, max_waiting: int) -> None:
        self._limit = max_num_seqs + max_waiting
        self._inboxes: dict[str, _Inbox] = {}
        self._stats = EngineStats()
        self._info: EngineInfo | None = None
        self._ready = self._draining = False
        self.fault: Exception | None = None
        self.retry_after_s, self.num_restarts = 1.0, 0

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
        return len(self._inboxes)

    def stats(self) -> EngineStats:
        return self._stats

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def _end(self) -> None:
        """Release the worker, its requests being over or given up."""

    @abstractmethod
    def _send(self, command: Command) -> None: ...

    async def _begin(self, request: EngineRequest) -> None:
        """Send a request on its way."""
        self._send(Add((request,)))

    async def stop(self, grace_s: float) -> None:
        """Refuse new work, let the rest finish for `grace_s` seconds, then give it up."""
        self._draining = True
        deadline = asyncio.get_running_loop().time() + grace_s
        while self._inboxes and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        self._give_up("the server is shutting down")
        await self._end()

    async def submit(self, request: EngineRequest) -> AsyncGenerator[RequestOutput, None]:
        if not self.is_ready:
            raise EngineUnavailableError(
                "the engine is not ready: it is starting or stopping", self.retry_after_s
            )
        if len(self._inboxes) >= self._limit:
            raise QueueFullError(
                f"{self._limit} requests are in work or waiting, which is the limit", retry_after=1
            )
        inbox = self._inboxes[request.request_id] = _Inbox(request)
        finished = False
        try:
            await self._begin(request)
            while not finished:
                output = await inbox.get()
                if inbox.is_held and inbox.has_room:
                    inbox.is_held = False
                    self._send(Resume((request.request_id,)))
                if isinstance(output, Exception):
                    finished = True
                    raise output
                finished = output.finished
                yield await with_prompts(output)
        finally:
            self._inboxes.pop(request.request_id, None)
            if not finished:
                self._send(Abort((request.request_id,)))

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        if request_id in self._inboxes:
            self._send(StopSample((request_id, prompt, sample)))

    def _dispatch(self, outputs: Iterable[RequestOutput], stats: EngineStats) -> None:
        """Hand outputs to their requests; those of requests that went away are dropped.

        A request whose outputs are not taken rests, so that they do not grow without bound.
        """
        self._stats = stats
        for output in outputs:
            if (inbox := self._inboxes.get(output.request_id)) is not None:
                inbox.put(output)
                if inbox.is_full and not inbox.is_held:
                    inbox.is_held = True
                    self._send(Hold((output.request_id,)))

    def _give_up(self, reason: str) -> None:
        """End every request in flight with an error that tells it may be sent again."""
        for inbox in self._inboxes.values():
            inbox.put(EngineUnavailableError(reason))
