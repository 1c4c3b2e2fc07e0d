"""Put into PYTHONPATH, this samples every Python process by the time that it computes.

A sampler from outside takes a process that waits for its core to be running; the timer of the
process's own CPU time does not. Nothing is imported that a process would not import anyway.

On SIGUSR1 a process writes `<pid>.json` into $PROFILE_FOLDER, samples by stack, and begins anew.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import FrameType

_INTERVAL_S = 0.004  # the kernel's clock ticks no finer
_counts: dict[str, int] = {}


def _sample(_: int, frame: FrameType | None) -> None:
    """Files from where the process is to where it came from, innermost first."""
    files: list[str] = []
    while frame is not None:
        name = frame.f_code.co_filename
        if not files or files[-1] != name:
            files.append(name)
        frame = frame.f_back
    stack = "\n".join(files)
    _counts[stack] = _counts.get(stack, 0) + 1


def _report(_: int, __: FrameType | None) -> None:
    path = Path(os.environ["PROFILE_FOLDER"]) / f"{os.getpid()}.json"
    fresh = path.with_suffix(".writing")
    fresh.write_text(json.dumps(_counts), encoding="utf-8")
    fresh.replace(path)
    _counts.clear()


if "PROFILE_FOLDER" in os.environ:
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, _report)
    signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)
