"""One table for several processes: computed once, read by all, whoever comes first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.engine.hosts.replicas import create_table_file, shared_table
from service.engine.request import Floats

ROOT = Path(__file__).resolve().parents[4]

# Computes slowly, says so, and prints what it then reads: FILE ROWS.
READER = """
import sys, time
import numpy as np
from service.engine.hosts.replicas import shared_table

def compute():
    print("computes", flush=True)
    time.sleep(0.3)
    return np.arange(int(sys.argv[2]) * 3, dtype=np.float32).reshape(-1, 3)

table = shared_table(int(sys.argv[1]), compute)
print(table.shape, float(table[-1, -1]), float(table.sum(dtype=np.float64)))
"""


@pytest.fixture
def table_file() -> Iterator[int]:
    descriptor = create_table_file()
    yield descriptor
    os.close(descriptor)


def some_table() -> Floats:
    return np.random.default_rng(3).random((50, 8), np.float32)


def never() -> Floats:
    raise AssertionError("the table is computed again")


def test_what_was_computed_is_read(table_file: int) -> None:
    assert np.array_equal(shared_table(table_file, some_table), some_table())


def test_whoever_comes_later_computes_nothing(table_file: int) -> None:
    shared_table(table_file, some_table)
    assert np.array_equal(shared_table(table_file, never), some_table())


def test_the_table_cannot_be_written(table_file: int) -> None:
    with pytest.raises(ValueError, match="read-only"):
        shared_table(table_file, some_table)[0, 0] = 1


def test_a_failure_to_compute_leaves_room_for_the_next(table_file: int) -> None:
    with pytest.raises(AssertionError):
        shared_table(table_file, never)
    assert np.array_equal(shared_table(table_file, some_table), some_table())


def test_processes_that_start_together_compute_it_once(table_file: int) -> None:
    rows = 300_000
    command = [sys.executable, "-c", READER, str(table_file), str(rows)]
    readers = [
        subprocess.Popen(
            command, cwd=ROOT, pass_fds=[table_file], stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    lines = [line for reader in readers for line in reader.communicate()[0].splitlines()]
    assert all(reader.returncode == 0 for reader in readers)
    last = 3 * rows - 1
    read = f"({rows}, 3) {float(last)} {last * (last + 1) / 2}"
    assert sorted(lines) == [*[read] * 3, "computes"]


def test_a_process_killed_while_it_writes_leaves_nothing_half_written(table_file: int) -> None:
    """As far as the others can see: a file whose beginning was not written yet is empty."""
    os.pwrite(table_file, b"\x01" * 100, 16)
    assert np.array_equal(shared_table(table_file, some_table), some_table())
