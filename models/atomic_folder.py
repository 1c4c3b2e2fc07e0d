"""Folders that change all at once: a reader, or a crash, meets the old one or the new one whole."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder` to write into; on leaving, it takes the place of `folder`.

    If the body raises, `folder` stays as it was. Parents are created. What a process that was
    killed left behind is removed by the next call. Two writers of one folder are not supported.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.with_name(f".{folder.name}.saving")
    if staging.exists():
        shutil.rmtree(staging)
    staging.mkdir()
    try:
        yield staging
        for path in (*staging.iterdir(), staging):
            _sync(path)
        _replace(staging, folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def recover(folder: Path) -> None:
    """Put the old folder back after a kill between the two renames that some systems need.

    Only the writer may call it: during a save it would stand in the way.
    """
    aside = previous(folder)
    if aside.exists() and not folder.exists():
        aside.rename(folder)


def previous(folder: Path) -> Path:
    """Where the old folder stands for the moment between two renames."""
    return folder.with_name(f".{folder.name}.previous")


def _replace(staging: Path, folder: Path) -> None:
    aside = previous(folder)
    if not (folder.exists() and _exchange(staging, folder)):
        if folder.exists():  # a folder cannot be renamed onto a full one
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
        staging.rename(folder)
    _sync(folder.parent)
    for old in (staging, aside):
        shutil.rmtree(old, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one atomic step; False where the system or file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux, or a C library without it
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)


def _sync(path: Path) -> None:
    """Have the content on disk before a rename that makes it count."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
