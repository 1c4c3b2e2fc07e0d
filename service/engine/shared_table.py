"""One copy of the input table for all engine processes of a model, in shared memory."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable

import numpy as np

from service.engine.request import Floats


def create_table_file() -> int:
    """File descriptor of an anonymous file in memory, to be inherited by the engines."""
    return os.memfd_create("lstm-serve-table")


def shared_table(descriptor: int, compute: Callable[[], Floats]) -> Floats:
    """The table in the file; whoever comes first computes it, the others wait and map it."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        if os.fstat(descriptor).st_size == 0:
            table = compute()
            header = np.array(table.shape, np.int64).tobytes()
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(header + table.tobytes())
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    rows, columns = np.frombuffer(mapped, np.int64, 2).tolist()
    return np.frombuffer(mapped, np.float32, rows * columns, offset=16).reshape(rows, columns)
