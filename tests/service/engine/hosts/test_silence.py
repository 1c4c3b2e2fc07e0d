"""What counts as silence of a process that sleeps, computes, is stopped, or gets no processor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.engine.hosts.silence import Silence, process_state

if not Path("/proc/self/stat").exists():
    pytest.skip("only Linux tells what a process is doing", allow_module_level=True)

INTERVAL_S = 0.1
SLEEPS = "import time; print(flush=True); time.sleep(60)"
COMPUTES = "print(flush=True)\nwhile True: pass"
ONE_CORE = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})\n"
STARVES = (
    f"{ONE_CORE}print(flush=True)\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
    "while True: pass"
)
STARVES_IN_A_THREAD = f"""
import threading
def starve():
    exec({STARVES!r})
threading.Thread(target=starve, daemon=True).start()
threading.Event().wait()
"""

Start = Callable[[str], int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Runs code in a process, which has begun when this returns; its id."""
    with ExitStack() as ended:

        def begin(code: str) -> int:
            process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            ended.callback(process.communicate)
            ended.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
            return process.pid

        yield begin


def asleep(pid: int) -> int:
    """The same process, once it sleeps."""
    while (state := process_state(pid)) is None or state.state != "S":
        time.sleep(0.01)
    return pid


def watch(pid: int, looks: int) -> Silence:
    """Look so many times, as a watcher does."""
    silence, looked = Silence(pid, INTERVAL_S), time.monotonic()
    for _ in range(looks):
        time.sleep(INTERVAL_S)
        now = time.monotonic()
        silence.pass_time(now - looked)
        looked = now
    return silence


def test_one_that_sleeps_is_silent_all_the_time(start: Start) -> None:
    silence = watch(asleep(start(SLEEPS)), 5)
    assert silence.seconds >= 5 * INTERVAL_S
    assert not silence.is_stopped


def test_one_that_computes_is_silent_for_its_processor_time(start: Start) -> None:
    pid = start(COMPUTES)
    before = process_state(pid)
    silence = watch(pid, 8)
    after = process_state(pid)
    assert before is not None
    assert after is not None
    assert 0 < silence.seconds <= after.cpu_s - before.cpu_s


def test_one_that_gets_no_processor_is_hardly_silent(start: Start) -> None:
    start(ONE_CORE + COMPUTES)
    silence = watch(start(STARVES), 10)
    assert silence.seconds < 5 * INTERVAL_S


def test_one_that_waits_for_its_own_thread_is_hardly_silent(start: Start) -> None:
    """As a kernel's first thread does for its others."""
    start(ONE_CORE + COMPUTES)
    assert watch(start(STARVES_IN_A_THREAD), 10).seconds < 5 * INTERVAL_S


def test_one_that_was_stopped_is_known(start: Start) -> None:
    pid = start(COMPUTES)
    os.kill(pid, signal.SIGSTOP)
    silence = watch(pid, 3)
    assert silence.is_stopped
    assert silence.seconds >= 3 * INTERVAL_S


def test_time_in_which_the_watcher_did_not_run_is_no_silence(start: Start) -> None:
    """Both were suspended for an hour."""
    silence = Silence(asleep(start(SLEEPS)), INTERVAL_S)
    silence.pass_time(3600)
    assert silence.seconds == 2 * INTERVAL_S


def test_where_nothing_is_told_the_clock_counts() -> None:
    silence = Silence(None, INTERVAL_S)
    silence.pass_time(0.15)
    assert process_state(None) is None
    assert silence.seconds == 0.15
