"""An engine in a process of its own, supervised: if it dies or hangs it is started again."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from service.engine.hosts.async_engine import (
    CheckpointReplacedError,
    EngineFront,
    EngineInfo,
    EngineOptions,
    EngineUnavailableError,
    QueueFullError,
)
from service.engine.hosts.commands import Add, AddLarge, Command, Ping, Quit
from service.engine.hosts.link import Link
from service.engine.hosts.silence import Silence
from service.engine.hosts.wire import LargeRequest, unpack_outputs
from service.engine.request import EngineRequest
from service.engine.stats import EngineStats

logger = logging.getLogger(__name__)

_PROJECT = Path(__file__).parents[3]
_BEAT_S = 0.5
# An engine that was stopped (SIGSTOP) will not answer; one that computes may take its time.
_STOPPED_S = 1.0
# A death after this long is no crash loop.
_STEADY_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_MAX_UNSENT_BYTES = 64 << 20


class ProcessEngine(EngineFront):
    """table_file: shared input table (see replicas.py), None for a private one."""

    def __init__(self, folder: Path, options: EngineOptions, table_file: int | None = None) -> None:
        super().__init__(options.max_num_seqs, options.max_waiting)
        self._folder, self._options, self._table_file = folder, options, table_file
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._link: Link | None = None
        self._first_message: asyncio.Future[EngineInfo] | None = None
        self._supervision: set[asyncio.Task[None]] = set()
        self._num_failures = 0
        self._ready_since = 0.0

    @property
    def pid(self) -> int | None:
        """Of the engine process."""
        return None if self._process is None else self._process.pid

    def launch(self) -> None:
        """Start the process without waiting for it, so that it loads while the server does."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair()
        options = {**asdict(self._options), "table_file": self._table_file}
        inherited = [theirs.fileno()]
        if self._table_file is not None:
            inherited.append(self._table_file)
        arguments = [str(theirs.fileno()), str(self._folder), json.dumps(options)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service.engine.hosts.process_worker", *arguments],
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            env={
                # Weights in large pages: a step reads megabytes of them, in a tenth less time so.
                "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
                **_environment(),
                "PYTHONPATH": _python_path(),
                "OMP_NUM_THREADS": "1",
            },
        )
        theirs.close()
        self._socket = ours

    async def start(self) -> None:
        """Wait until the process has loaded the model.

        Raises what it says (ValueError: the checkpoint cannot be served), RuntimeError where it
        ends without a word, and CheckpointReplacedError where a restarted one finds another
        checkpoint than the first one did.
        """
        self.launch()
        loop = asyncio.get_running_loop()
        first: asyncio.Future[EngineInfo] = loop.create_future()
        assert self._socket is not None
        ours, self._socket, self._first_message = self._socket, None, first
        self._link = await Link.open(
            ours, partial(self._on_message, first), partial(self._on_lost, first)
        )
        info = await first
        if self._info is not None and info.digest != self._info.digest:
            raise CheckpointReplacedError(
                f"another checkpoint was put into {self._folder}: it has digest {info.digest}, "
                f"{self._info.digest} was served"
            )
        self._info, self._ready, self.fault = info, True, None
        self._ready_since = loop.time()
        self._supervise(self._beat(self._link))

    def _supervise(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._supervision.add(task)
        task.add_done_callback(self._supervision.discard)

    def _on_message(
        self,
        first: asyncio.Future[EngineInfo],
        message: EngineInfo | Exception | tuple[Any, EngineStats],
    ) -> None:
        if isinstance(message, tuple):
            packed, stats = message
            self._dispatch(unpack_outputs(packed), stats)
        elif first.done():
            return
        elif isinstance(message, EngineInfo):
            first.set_result(message)
        else:
            first.set_exception(message)

    def _on_lost(self, first: asyncio.Future[EngineInfo]) -> None:
        """The process whose first message is `first` has ended."""
        if not first.done():
            first.set_exception(
                RuntimeError(f"the engine process for {self._folder} ended at start")
            )
        if not self._ready or self._first_message is not first:
            return
        self._ready = False
        self._give_up("the engine process ended; it is being restarted")
        if self._draining:
            return
        self.fault = RuntimeError("the engine process ended unexpectedly")
        logger.error("the engine process for %s ended unexpectedly; restarting", self._folder)
        if asyncio.get_running_loop().time() - self._ready_since > _STEADY_S:
            self._num_failures = 0
        self._supervise(self._restart())

    async def _restart(self) -> None:
        """Try until it succeeds: at once after a long life, then ever more slowly."""
        while not self._draining:
            self._reap()
            if self._num_failures:
                pause_s = _FIRST_PAUSE_S * 2 ** min(self._num_failures - 1, 10)
                self.retry_after_s = min(pause_s, _LONGEST_PAUSE_S)
                await asyncio.sleep(self.retry_after_s)
            self._num_failures += 1
            try:
                await self.start()
            except (RuntimeError, ValueError, OSError) as error:
                self.fault = error
                logger.error("the engine process could not be restarted: %s", error)
                if isinstance(error, CheckpointReplacedError):
                    self._reap()
                    return  # for good: whoever owns the engine puts another in its place
            else:
                self.num_restarts += 1
                return

    async def _beat(self, link: Link) -> None:
        """Ask for a sign of life again and again; end a process that gives none."""
        loop = asyncio.get_running_loop()
        while self._link is link and self._ready:
            heard, looked, silence = link.num_received, loop.time(), Silence(self.pid, _BEAT_S)
            self._send(Ping())
            while link.num_received == heard and self._link is link and self._ready:
                await asyncio.sleep(_BEAT_S)
                now = loop.time()
                silence.pass_time(now - looked)
                looked = now
                most = _STOPPED_S if silence.is_stopped else self._options.timeout_s
                is_hung = silence.seconds > most and link.num_received == heard
                if is_hung and self._process is not None:
                    logger.error(
                        "the engine process for %s gave no sign of life for %.1f s; ending it",
                        self._folder,
                        silence.seconds,
                    )
                    self._process.kill()
                    return
            await asyncio.sleep(_BEAT_S)

    def _reap(self) -> None:
        self._ready = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._link is not None:
            self._link.close()
            self._link = None

    async def _begin(self, request: EngineRequest) -> None:
        if LargeRequest.is_large(request):
            self._send(AddLarge((await LargeRequest.of(request),)))
        else:
            self._send(Add((request,)))

    def _send(self, command: Command) -> None:
        if self._link is None or not self._ready:
            return
        if isinstance(command, Add | AddLarge) and self._link.num_unsent_bytes > _MAX_UNSENT_BYTES:
            raise QueueFullError("the engine is too busy to take another request", retry_after=1)
        try:
            self._link.send(command)
        except OSError as error:
            if isinstance(command, Add | AddLarge):  # the others have nothing left to end
                raise EngineUnavailableError("the engine process ended") from error

    async def _end(self) -> None:
        for task in tuple(self._supervision):
            task.cancel()
        if self._process is not None and self._ready:
            self._send(Quit())
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, 2)
        self._ready = False
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        self._reap()
        await asyncio.sleep(0)  # the link's end is told in the loop's next turn


def _environment() -> dict[str, str]:
    """This process's, without the service's settings, among which are its secrets."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LSTM_SERVE_")}


def _python_path() -> str:
    """The packages are found in the checkout, wherever the server was started."""
    return os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH", "")]))
