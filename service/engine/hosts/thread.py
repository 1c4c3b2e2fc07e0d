"""An engine in a thread of this process: for tests and for embedding."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable

from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineFront, EngineInfo
from service.engine.hosts.commands import Command, Quit
from service.engine.hosts.worker import work
from service.engine.request import RequestOutput
from service.engine.stats import EngineStats

Loaded = tuple[Engine, EngineInfo]


class ThreadEngine(EngineFront):
    """load: builds the engine; called once, in the thread that will own it."""

    def __init__(self, load: Callable[[], Loaded], max_num_seqs: int, max_waiting: int) -> None:
        super().__init__(max_num_seqs, max_waiting)
        self._load = load
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        loaded: asyncio.Future[EngineInfo] = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(loop, loaded), name="engine", daemon=True
        )
        self._thread.start()
        self._info = await loaded
        self._ready = True

    def _run(self, loop: asyncio.AbstractEventLoop, loaded: asyncio.Future[EngineInfo]) -> None:
        try:
            engine, info = self._load()
        except Exception as error:
            loop.call_soon_threadsafe(loaded.set_exception, error)
            return
        loop.call_soon_threadsafe(loaded.set_result, info)
        try:
            work(engine, _QueueChannel(self._inbox, loop, self._dispatch))
        except Exception:
            self._ready = False
            loop.call_soon_threadsafe(self._give_up, "the engine failed")
            raise

    def _send(self, command: Command) -> None:
        self._inbox.put(command)

    async def _end(self) -> None:
        self._ready = False
        if self._thread is not None:
            self._inbox.put(Quit())
            await asyncio.to_thread(self._thread.join)


class _QueueChannel:
    def __init__(
        self,
        inbox: queue.SimpleQueue[Command],
        loop: asyncio.AbstractEventLoop,
        dispatch: Callable[[list[RequestOutput], EngineStats], None],
    ) -> None:
        self._inbox, self._loop, self._dispatch = inbox, loop, dispatch

    def receive(self, *, wait: bool) -> Command | None:
        try:
            return self._inbox.get(block=wait)
        except queue.Empty:
            return None

    def has_command(self) -> bool:
        return not self._inbox.empty()

    def send(self, outputs: list[RequestOutput], stats: EngineStats) -> None:
        self._loop.call_soon_threadsafe(self._dispatch, outputs, stats)
