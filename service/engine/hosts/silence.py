"""How long a process has been silent although it could have answered.

By the clock on the wall a healthy engine would be killed on a machine that is too busy to run it,
and when a suspended machine wakes up. What Linux tells of a process (proc(5)) says more.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_RUNNABLE, _STOPPED = "R", ("T", "t")
_STATE, _USER_TICKS, _SYSTEM_TICKS = 0, 11, 12  # fields after the command's name


class ProcessState(NamedTuple):
    """state: a letter of proc(5), that of a runnable thread if there is one; cpu_s: processor time
    of all threads since the process's start, in seconds.
    """

    state: str
    cpu_s: float

    @property
    def is_stopped(self) -> bool:
        """By a signal or a debugger."""
        return self.state in _STOPPED


def process_state(pid: int | None) -> ProcessState | None:
    """None where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    ticks = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
    # A first thread that sleeps may wait for another, which gets no processor.
    state = _RUNNABLE if _has_runnable_thread(pid) else fields[_STATE]
    return ProcessState(state, ticks / os.sysconf("SC_CLK_TCK"))


def _has_runnable_thread(pid: int | None) -> bool:
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has just ended
            if path.read_text().rpartition(")")[2].split()[_STATE] == _RUNNABLE:
                return True
    return False


@dataclass
class Silence:
    """seconds: of silence so far. Looked at every `interval_s`, with what has passed since.

    A process that wants the processor counts for as long as it had it, any other for as long as the
    watcher itself ran: what passed while nobody could look (a suspended machine) is no silence.
    """

    pid: int | None
    interval_s: float
    seconds: float = 0.0
    is_stopped: bool = False
    _cpu_s: float | None = None

    def pass_time(self, elapsed_s: float) -> None:
        """The watcher looks again, `elapsed_s` after it last did."""
        now = process_state(self.pid)
        watched_s = min(elapsed_s, 2 * self.interval_s)
        if now is None:
            self.seconds += watched_s
            return
        had_s = 0.0 if self._cpu_s is None else now.cpu_s - self._cpu_s
        self._cpu_s, self.is_stopped = now.cpu_s, now.is_stopped
        self.seconds += min(had_s, watched_s) if now.state == _RUNNABLE else watched_s
