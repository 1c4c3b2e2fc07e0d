"""The loop around an engine: take commands, step, send outputs. Runs in a thread or a process."""

from __future__ import annotations

import time
from typing import Protocol

from service.engine.engine import Engine
from service.engine.hosts.commands import (
    Abort,
    Add,
    AddLarge,
    Command,
    Hold,
    Ping,
    Quit,
    Resume,
    StopSample,
)
from service.engine.request import RequestOutput
from service.engine.stats import EngineStats

_CHECK_EVERY_S = 60.0  # looking through a full cache takes longer than a short request


class Channel(Protocol):
    """Where commands come from and outputs go to."""

    def receive(self, *, wait: bool) -> Command | None:
        """Next command; None where there is none now (without `wait`)."""
        ...

    def has_command(self) -> bool:
        """Whether one waits to be received; asked after every token, so it must be quick."""
        ...

    def send(self, outputs: list[RequestOutput], stats: EngineStats) -> None: ...


def work(engine: Engine, channel: Channel) -> None:
    """Serve until told to quit. A request that cannot be computed is answered with its error."""
    checked = time.monotonic()
    while True:
        outputs: list[RequestOutput] = []
        answers = False
        command = channel.receive(wait=not engine.has_work)
        while command is not None:
            if isinstance(command, Quit):
                return
            _apply(engine, command, outputs)
            # These have no output, but change what is running.
            answers |= isinstance(command, Abort | Hold | Ping)
            command = channel.receive(wait=False)
        outputs += engine.step(channel.has_command)
        if outputs or answers:
            channel.send(outputs, stats_of(engine))
        if not engine.has_work and time.monotonic() - checked >= _CHECK_EVERY_S:
            engine.cache.check_integrity()
            checked = time.monotonic()


def _apply(engine: Engine, command: Command, outputs: list[RequestOutput]) -> None:
    if isinstance(command, Add | AddLarge):
        request = command[0] if isinstance(command, Add) else command[0].unpacked()
        try:
            engine.add_request(request)
        except ValueError as error:
            failed = RequestOutput(request_id=request.request_id, finished=True, error=str(error))
            outputs.append(failed)
    elif isinstance(command, Abort):
        engine.abort(command[0])
    elif isinstance(command, StopSample):
        engine.stop_sample(*command)
    elif isinstance(command, Hold):
        engine.hold(*command)
    elif isinstance(command, Resume):
        engine.resume(*command)


def stats_of(engine: Engine) -> EngineStats:
    """What an engine has done and holds now."""
    cache = engine.cache
    return EngineStats(
        counters={
            **vars(engine.counters),
            "cache_hits": cache.hits,
            "cache_lookups": cache.lookups,
        },
        gauges={
            "rows": engine.scheduler.max_num_seqs,
            "running": len(engine.scheduler.running),
            "waiting": engine.scheduler.num_waiting,
            "cache_bytes": cache.num_bytes,
            "cache_entries": len(cache),
        },
    )
