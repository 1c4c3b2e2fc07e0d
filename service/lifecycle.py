"""Is the service taking work, and how much is in flight?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Lifecycle:
    """Counts requests in flight, and says when the service drains or failed to start.

    Used from one event loop.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.is_draining = False
        self.failure: Exception | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._started = asyncio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        """A piece of work that draining waits for."""
        self.in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self._idle.set()

    async def drain(self, grace_s: float) -> bool:
        """Refuse new work and wait for that in flight; whether all of it ended in time."""
        self.is_draining = True
        if self._idle.is_set():
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            return False
        return True

    def set_started(self, failure: Exception | None = None) -> None:
        """The default model is loaded, or cannot be because of `failure`."""
        self.failure = failure
        self._started.set()

    async def wait_started(self) -> None:
        """Until the default model is loaded; raises what prevents it."""
        await self._started.wait()
        if self.failure is not None:
            raise self.failure
