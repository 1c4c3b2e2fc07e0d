"""`lstm-serve serve` as a process: what others see of it, and how it ends before it has begun."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.live_server import announced_address
from tests.reliability.target import save_small_model

ROOT = Path(__file__).resolve().parents[2]
KEY, STATE_KEY = "a-key-that-nobody-sees", "the-key-of-all-states"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "tiny")


@contextmanager
def started(
    folder: Path, *options: str, port: int = 0, errors: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "service", "serve", "--model", str(folder)]
    command += ["--models", str(folder.parent), "--port", str(port), *options]
    environment = {**os.environ, "LSTM_SERVE_MAX_TEXTS": "7"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nobody_who_lists_processes_reads_a_key(folder: Path) -> None:
    with started(folder, "--api-key", KEY, f"--state-key={STATE_KEY}") as process:
        announced_address(process)
        (engine,) = children(process.pid)
        for pid in (process.pid, engine):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            assert KEY.encode() not in line
            assert STATE_KEY.encode() not in line
        assert (
            b"--api-key\0**********************\0--state-key"
            in Path(f"/proc/{process.pid}/cmdline").read_bytes()
        )
        assert b"LSTM_SERVE_" not in Path(f"/proc/{engine}/environ").read_bytes()


@pytest.mark.parametrize("delay_s", [0, 0.5])
def test_told_to_end_while_it_loads_it_ends_well(folder: Path, delay_s: float) -> None:
    """From the moment on at which its port is taken; the engine process ends with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with started(folder, port=port) as process:
        wait_for_port(port, process)
        time.sleep(delay_s)
        engines = children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        for _ in range(200):
            if not any(Path(f"/proc/{engine}").exists() for engine in engines):
                break
            time.sleep(0.05)
        else:
            pytest.fail("an engine process outlives its server")


# An exception in the middle of importing an extension module may be ignored by it.
_TOLD_WHERE_EXCEPTIONS_ARE_LOST = """
import contextlib, signal, sys
from service.__main__ import main
from service.cli import serve
open_socket = serve.open_socket

def told(settings):
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGTERM)
    return open_socket(settings)

serve.open_socket = told
main(["serve", "--model", sys.argv[1], "--port", "0"])
"""


def test_told_to_end_where_an_exception_would_be_lost_it_ends(folder: Path) -> None:
    command = [sys.executable, "-c", _TOLD_WHERE_EXCEPTIONS_ARE_LOST, str(folder)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_the_log_is_json_line_by_line_if_it_is_to_be(folder: Path) -> None:
    """From the first line to the last, the web server's own included."""
    with started(folder, "--log-format", "json", errors=subprocess.PIPE) as process:
        address = announced_address(process)
        body = {"prompt": "a", "max_tokens": 2, "ignore_eos": True}
        with httpx.Client(base_url=address, timeout=60) as client:
            assert client.post("/v1/completions", json=body).status_code == 200
            assert client.post("/v1/completions", json={"n": "x"}).status_code == 400
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    events = [json.loads(line) for line in said.splitlines()]
    done, refused = (event for event in events if event["logger"] == "service.access")
    assert (done["route"], done["status"], done["new_tokens"]) == ("/v1/completions", 200, 2)
    assert 0 <= done["queued_ms"] <= done["first_ms"] <= done["total_ms"]
    assert (refused["status"], refused["error"]) == (400, "invalid_value")


def wait_for_port(port: int, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        assert process.poll() is None
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail("nobody listens")
