"""llama-server as a process, with the flags and settings that serve it best on one core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Json
from benchmarks.service_process import Service, running_server

# Chosen by `benchmarks.peers.flags`. What is not named here made no difference.
_COMMON = (
    *("--threads", "1"),
    *("--flash-attn", "on"),
    "--no-kv-unified",
    "--no-ui",
    *("--log-verbosity", "1"),
)
# One server cannot be good at both: slots that could each hold a long text take much memory, and
# a cache of eight bits makes short streams a quarter faster, but long prompts three times slower.
MANY = (
    *_COMMON,
    *("--parallel", "64", "--ctx-size", str(64 * 512)),
    *("--cache-type-k", "q8_0", "--cache-type-v", "q8_0"),
)
LONG = (*_COMMON, "--parallel", "4", "--ctx-size", str(4 * 8192))
FLAGS_OF = {"one_stream": MANY, "streams64": MANY, "chat": LONG, "prompt4096": LONG}
# Of the samplers, only the one that has something to do: the others cost a fifth of a stream.
BODY: Json = {"samplers": ["temperature"]}


@contextmanager
def running_llama(
    program: Path, model: Path, *, core: int, flags: Sequence[str]
) -> Iterator[Service]:
    """llama-server on a GGUF file, ready to answer, on one core; ended on the way out."""
    command = [str(program), "--model", str(model), *flags]
    with running_server(command, ready="/health", core=core) as server:
        yield server
