"""Processes that sample themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.profile.__main__ import hooked, profiled
from benchmarks.profile.places import PLACES

# A child that computes where the engine draws; its parent only waits.
BUSY = "def spin():\n    while True:\n        pass\n"
CHILD = "import sys; sys.path.insert(0, {folder!r}); import draw; print(flush=True); draw.spin()"
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc"
)


@pytest.fixture(name="busy")
def _busy(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder = tmp_path / "service" / "engine" / "sampling"
    folder.mkdir(parents=True)
    (folder / "draw.py").write_text(BUSY)
    child = CHILD.format(folder=str(folder))
    command = [sys.executable, "-c", PARENT.format(child=child)]
    environment = {**os.environ, **hooked(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        os.killpg(process.pid, 9)


def test_computing_is_found_where_it_happens(busy: subprocess.Popen[bytes], tmp_path: Path) -> None:
    def work() -> int:
        time.sleep(1)
        return 1000

    profile = profiled(busy.pid, tmp_path, work)
    assert profile.samples > 0
    assert profile.shares()["draw"] > 0.9
    each = profile.us_per_token()
    assert set(each) == {*PLACES, "all"}
    assert sum(each[place] for place in PLACES) == pytest.approx(each["all"])
    assert each["all"] == pytest.approx(1000 * sum(profile.cpu_s.values()))
