"""A real server in a process of its own, as `make serve` starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_ROOT = Path(__file__).parents[1]
_ANNOUNCED = re.compile(r"listening on (http://\S+)")
_EXIT_S = 30


@contextmanager
def live_server(
    python: str,
    model: Path,
    settings: Mapping[str, str] | None = None,
    log: IO[str] | None = None,
) -> Iterator[str]:
    """The address of a server of `model` that is ready; it must end cleanly.

    python: interpreter of an environment that can serve; settings: environment variables; log:
    where its standard error goes, this process's by default.
    """
    command = [python, "-m", "service", "serve", "--port", "0"]
    command += ["--model", str(model), "--models", str(model.parent)]
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, **(settings or {})},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        yield announced_address(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_EXIT_S) == 0
    finally:
        process.kill()
        process.communicate()


def announced_address(process: subprocess.Popen[str]) -> str:
    """Where a server says that it listens, once it is ready."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        if found := _ANNOUNCED.search(line):
            return found[1]
        said.append(line)
    raise RuntimeError(f"the server ended with code {process.wait()}: {''.join(said)}")
