"""An engine in a process of its own, supervised: if it dies it is started again."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

from service.engine.hosts.async_engine import (
    EngineFront,
    EngineInfo,
    EngineOptions,
    EngineUnavailableError,
)
from service.engine.hosts.worker import Add, Command, Quit, unpack_outputs

logger = logging.getLogger(__name__)

_RESTART_PAUSE_S = 0.5
_PROJECT = Path(__file__).parents[3]


class ProcessEngine(EngineFront):
    """table_file: shared input table (see shared_table.py), None for a private one."""

    def __init__(self, folder: Path, options: EngineOptions, table_file: int | None = None) -> None:
        super().__init__(options.max_num_seqs, options.max_waiting)
        self._folder, self._options, self._table_file = folder, options, table_file
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._reader: threading.Thread | None = None
        self._restarting: asyncio.Task[None] | None = None

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
            [sys.executable, "-P", "-m", "service.engine.hosts.process_worker", *arguments],
            pass_fds=inherited,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": _python_path(), "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        self._connection = Connection(ours.detach())

    async def start(self) -> None:
        self.launch()
        assert self._connection is not None
        try:
            news = await asyncio.to_thread(self._connection.recv)
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"the engine process for {self._folder} ended at start") from error
        if isinstance(news, Exception):
            raise news
        assert isinstance(news, EngineInfo)
        self._info, self._ready = news, True
        loop = asyncio.get_running_loop()
        self._reader = threading.Thread(
            target=self._read, args=(loop, self._connection), name="engine-reader", daemon=True
        )
        self._reader.start()

    def _read(self, loop: asyncio.AbstractEventLoop, connection: Connection) -> None:
        """In a thread: pass on what the process sends until it is gone."""
        with suppress(EOFError, ConnectionError, OSError, RuntimeError):
            while True:
                packed, stats = connection.recv()
                loop.call_soon_threadsafe(self._dispatch, unpack_outputs(packed), stats)
        with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            loop.call_soon_threadsafe(self._on_exit)

    def _on_exit(self) -> None:
        self._ready = False
        self._give_up("the engine process ended; it is being restarted")
        if self._draining:
            return
        logger.error("the engine process for %s ended unexpectedly; restarting", self._folder)
        self._restarting = asyncio.get_running_loop().create_task(self._restart())

    async def _restart(self) -> None:
        while not self._draining:
            self._reap()
            await asyncio.sleep(_RESTART_PAUSE_S)
            try:
                await self.start()
            except (RuntimeError, ValueError, OSError) as error:
                logger.error("the engine process could not be restarted: %s", error)
            else:
                return

    def _reap(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, command: Command) -> None:
        if self._connection is None or not self._ready:
            return
        try:
            self._connection.send(command)
        except OSError as error:
            if isinstance(command, Add):  # the others have nothing left to end
                raise EngineUnavailableError("the engine process ended") from error

    async def _end(self) -> None:
        if self._restarting is not None:
            self._restarting.cancel()
        if self._process is not None and self._ready:
            self._send(Quit())
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._process.wait, 2)
        self._ready = False
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        if self._reader is not None:  # meets the end of the stream; then nobody uses it
            await asyncio.to_thread(self._reader.join)
        self._reap()

    @property
    def pid(self) -> int | None:
        """Of the engine process."""
        return None if self._process is None else self._process.pid


def _python_path() -> str:
    """The packages are found in the checkout, wherever the server was started."""
    return os.pathsep.join(filter(None, [str(_PROJECT), os.environ.get("PYTHONPATH", "")]))
