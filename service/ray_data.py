"""Many files by many workers: a Ray Data job, the bits those of one process (the extra `ray`).

    lstm-serve rescore --nbest part-1.jsonl.gz --nbest part-2.jsonl.gz --workers 2 --out best/

A worker is an actor with a model of its own, which takes file after file. A file is written under
another name and gets its own when it is whole; the file of a worker that dies is done again by
another, so nothing is lost and nothing is half. Workers and whoever starts them see the same files:
on a cluster of several machines, a shared file system.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data

from service.language_model import LanguageModel

FileWork = Callable[[LanguageModel, Path, Path], None]
_FAULTS = (ValueError, OSError, ImportError)  # of a file; the job goes on with the others


class _Worker:
    """An actor."""

    def __init__(self, load: Callable[[], LanguageModel], work: FileWork) -> None:
        self._model, self._work = load(), work

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        source, target = Path(row["source"]), Path(row["target"])
        unfinished = target.with_name(f".{target.name}.unfinished{target.suffix}")
        if unfinished.is_dir():
            shutil.rmtree(unfinished)  # of a worker that died
        try:
            self._work(self._model, source, unfinished)
            unfinished.replace(target)
        except _FAULTS as error:
            return {**row, "fault": str(error)}
        return {**row, "fault": ""}


def run_files(
    work: FileWork,
    load: Callable[[], LanguageModel],
    pairs: Sequence[tuple[Path, Path]],
    *,
    workers: int,
    threads: int = 1,
    address: str | None = None,
) -> Iterator[tuple[Path, str | None]]:
    """`work` on the model that `load` gives, a source and a target; each source when it is done.

    With it comes what is wrong with it, or None. threads: processors of a worker. address: of a
    cluster; without one, that which the process is connected to, else one of its own.
    """
    if not pairs:
        return
    is_own = not ray.is_initialized()
    if is_own:
        _connect(address, workers * threads)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = [{"source": str(source), "target": str(target)} for source, target in pairs]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            _Worker,
            fn_constructor_args=(load, work),
            # One file at a time: a queue behind a long one would wait while others are idle.
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
            num_cpus=threads,
            max_restarts=-1,
            max_task_retries=-1,
        )
        for row in done.iter_rows():
            yield Path(row["source"]), row["fault"] or None
    finally:
        if is_own:
            ray.shutdown()


def _connect(address: str | None, cpus: int) -> None:
    """To a cluster, or a new one on this machine."""
    if address is not None or "RAY_ADDRESS" in os.environ:
        ray.init(address, log_to_driver=False)
        return
    count = max(cpus, os.cpu_count() or 1)
    ray.init(num_cpus=count, include_dashboard=False, log_to_driver=False)
