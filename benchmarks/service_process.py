"""The real service as a process, or another server: started, awaited, weighed and ended."""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import PROJECT

HOST = "127.0.0.1"
_POLL_S = 0.002
_START_LIMIT_S = 120.0
_END_LIMIT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """A server that answered 200 where it says whether it is ready.

    seconds_to_ready: from the command to that answer.
    """

    port: int
    pid: int
    seconds_to_ready: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of several processes together, in MiB.

    pss: each page counted once, shared ones by the part of each process that maps it.
    rss: shared pages counted in each process.
    """

    pss: float
    rss: float
    processes: int


@contextmanager
def running_service(
    model: Path,
    arguments: Sequence[str] = (),
    *,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """`python -m service serve` on `model`, ready to answer; ended on the way out.

    core: the only one that it and its processes may use. environment: variables beside those of
    this process. Raises RuntimeError where it does not get ready.
    """
    command = [sys.executable, "-m", "service", "serve", "--log-level", "warning"]
    command += ["--model", str(model.resolve()), *arguments]
    with running_server(
        command, ready="/health/ready", core=core, environment=environment
    ) as service:
        yield service


@contextmanager
def running_server(
    command: Sequence[str],
    *,
    ready: str,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """Any server that takes `--host` and `--port` and answers 200 at the path `ready`."""
    port = _free_port()
    name = Path(command[0]).name
    begin = time.perf_counter()
    with pinned(core):  # the process inherits it
        process = subprocess.Popen(
            [*command, "--host", HOST, "--port", str(port)],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
    try:
        while not _is_ready(port, ready):
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended at start with code {process.returncode}")
            if time.perf_counter() - begin > _START_LIMIT_S:
                raise RuntimeError(f"{name} was not ready within {_START_LIMIT_S:.0f} s")
            time.sleep(_POLL_S)
        seconds = time.perf_counter() - begin
        yield Service(port=port, pid=process.pid, seconds_to_ready=seconds)
    finally:
        _end(process)


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """This thread on one core, and what it starts meanwhile; None: wherever it may run anyway."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _is_ready(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=_START_LIMIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (ConnectionError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cores_of(parser: argparse.ArgumentParser) -> tuple[int, int]:
    """The load's and the servers' core; exits with a message where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("two cores are needed: one for a server, one for the load")
    return cores[0], cores[-1]


def memory_of(pid: int) -> Memory:
    """What a process and all its descendants hold. Linux only."""
    pids = family(pid)
    rollups = [_smaps_rollup(member) for member in pids]
    return Memory(
        pss=sum(own["Pss"] for own in rollups) / 1024,
        rss=sum(own["Rss"] for own in rollups) / 1024,
        processes=len(pids),
    )


def cpu_seconds(pid: int) -> float:
    """What a process and all its descendants have computed so far. Linux only."""
    return sum(map(own_cpu_seconds, family(pid)))


def own_cpu_seconds(pid: int) -> float:
    """What a process has computed so far: its clock by number, as clock_getcpuclockid(3) has it."""
    return time.clock_gettime(~pid << 3 | 2)


def family(pid: int) -> list[int]:
    """The process and its descendants."""
    family = [pid]
    for member in family:  # grows while it is walked
        for thread in Path(f"/proc/{member}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it may end while it is read
                family += map(int, (thread / "children").read_text("ascii").split())
    return family


def _smaps_rollup(pid: int) -> dict[str, int]:
    """KiB by name."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
    pairs = (line.split() for line in lines)
    return {name.rstrip(":"): int(size) for name, size, *_ in pairs}
