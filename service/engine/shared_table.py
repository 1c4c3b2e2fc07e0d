"""One copy of the input table for all engine processes of a model, in shared memory."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from service.engine.request import Floats

_HEADER_BYTES = 16  # the table's shape, two 64-bit integers


def create_table_file() -> int:
    """File descriptor of an anonymous file in memory, to be inherited by the engines."""
    return os.memfd_create("lstm-serve-table")


def shared_table(descriptor: int, compute: Callable[[], Floats]) -> Floats:
    """The table in the file; whoever comes first computes it, the others wait and map it."""
    # Opened anew: a lock belongs to an opening of the file, and inherited descriptors are all of
    # the same one.
    with Path(f"/proc/self/fd/{descriptor}").open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not any(file.read(_HEADER_BYTES)):
            table = np.ascontiguousarray(compute())
            file.seek(_HEADER_BYTES)
            file.write(table.data)
            file.flush()
            file.seek(0)  # the header comes last, so that a table cut short does not count
            file.write(np.array(table.shape, np.int64).tobytes())
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    rows, columns = np.frombuffer(mapped, np.int64, 2).tolist()
    values = np.frombuffer(mapped, np.float32, rows * columns, offset=_HEADER_BYTES)
    return values.reshape(rows, columns)
