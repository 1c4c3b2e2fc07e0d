"""Memory of a process and of what it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.service_process import cpu_seconds, memory_of, pinned, running_service

CHILD = "import sys; b = b'x' * (64 << 20); print(flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_children_are_counted() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the child has its memory
        memory = memory_of(process.pid)
        process.communicate()
    assert memory.processes == 2
    assert 64 < memory.pss < memory.rss < 200


def test_a_service_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="ended at start with code 1"),
        running_service(tmp_path / "missing"),
    ):
        pass


def test_what_is_started_pinned_stays_on_its_core() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    with pinned(core):
        command = [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str({core})
    assert os.sched_getaffinity(0) == before


def test_computing_is_counted_and_waiting_is_not() -> None:
    before, begin = cpu_seconds(os.getpid()), time.process_time()
    time.sleep(0.2)
    assert cpu_seconds(os.getpid()) - before < 0.1
    while time.process_time() - begin < 0.2:
        pass
    assert 0.2 <= cpu_seconds(os.getpid()) - before < 0.4
