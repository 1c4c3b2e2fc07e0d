"""Options of the commands that run llama-server."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lstm-serve"
    parser.add_argument(
        "--cache", type=Path, default=cache, help=f"where llama-server is built ({cache})"
    )


def cores_of(parser: argparse.ArgumentParser) -> tuple[int, int]:
    """The load's and the servers' core; exits with a message where there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("two cores are needed: one for a server, one for the load")
    return cores[0], cores[-1]
