"""llama-server as a process, with the flags that serve it best on one core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.service_process import Service, running_server

SLOTS = 64
FLAGS = (
    *("--threads", "1"),
    *("--parallel", str(SLOTS)),
    "--kv-unified",
    *("--ctx-size", "32768"),
    *("--flash-attn", "on"),
    *("--batch-size", "2048", "--ubatch-size", "512"),
    "--no-ui",
    *("--log-verbosity", "1"),
)


@contextmanager
def running_llama(
    program: Path, model: Path, *, core: int, flags: Sequence[str] = FLAGS
) -> Iterator[Service]:
    """llama-server on a GGUF file, ready to answer, on one core; ended on the way out."""
    command = [str(program), "--model", str(model), *flags]
    with running_server(command, ready="/health", core=core) as server:
        yield server
