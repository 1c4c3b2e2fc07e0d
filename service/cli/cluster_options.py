"""`--workers`: many files side by side on a Ray cluster, each by the code that reads one here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from service.asr.formats.text_files import STDIO
from service.cli.model_option import find_model
from service.language_model import LanguageModel

F = TypeVar("F", bound=Callable[..., Any])
FileWork = Callable[[LanguageModel, Path, Path], None]

_ENDINGS = (".gz", ".xz")


def cluster_options(command: F) -> F:
    """The options that say who computes, where one process is too few."""
    for option in reversed(
        (
            click.option(
                "--workers",
                type=click.IntRange(1),
                help="a Ray Data job of so many workers (extra ray): every input file becomes "
                "one in the output, which is a folder",
            ),
            click.option(
                "--ray-address",
                metavar="ADDRESS",
                help="cluster of --workers; without one it is started here for the job",
            ),
            click.option(
                "--resume", is_flag=True, help="keep what a job cut short has left in the folder"
            ),
        )
    ):
        command = option(command)
    return command


def run_on_cluster(
    work: FileWork,
    model: str,
    precision: str,
    threads: int,
    sources: Sequence[Path],
    out: Path,
    ending: str,
    options: Mapping[str, Any],
) -> None:
    """Each source to a file of its name in `out`; ClickException where one has failed.

    work: takes the model, a source and its target. ending: of the targets' names.
    """
    pairs = plan(sources, out, ending, resume=options["resume"])
    try:
        from service.ray_data import run_files
    except ImportError:
        raise ImportError("--workers needs Ray: pip install 'lstm-serve[ray]'") from None
    folder = find_model(model).resolve()
    load = partial(LanguageModel.load, folder, precision=precision, threads=threads)
    done = run_files(
        work,
        load,
        pairs,
        workers=min(options["workers"], max(len(pairs), 1)),
        threads=threads,
        address=options["ray_address"],
    )
    _tell(done, len(sources) - len(pairs), len(sources))


def plan(
    sources: Sequence[Path], out: Path, ending: str, *, resume: bool
) -> list[tuple[Path, Path]]:
    """What is to be read, and where it goes; ValueError where that is not clear."""
    if STDIO in (*sources, out) or not sources:
        raise ValueError("--workers takes files, and a folder to write: standard streams are none")
    out.mkdir(parents=True, exist_ok=True)
    targets: dict[Path, Path] = {}
    for source in sources:
        if not source.exists():
            raise ValueError(f"{source} does not exist")
        target = (out / f"{_stem(source)}{ending}").resolve()
        if target in targets:
            raise ValueError(f"{source} and {targets[target]} would both become {target}")
        if target.exists() and not resume:
            raise ValueError(f"{target} is there already: name another folder, or say --resume")
        targets[target] = source.resolve()
    return [(source, target) for target, source in targets.items() if not target.exists()]


def _stem(path: Path) -> str:
    """The name without what says how it is written."""
    name = path.with_suffix("").name if path.suffix in _ENDINGS else path.name
    return name if path.is_dir() else Path(name).stem


def _tell(done: Iterable[tuple[Path, str | None]], kept: int, total: int) -> None:
    if kept:
        click.echo(f"{kept} of {total} files were there already", err=True)
    count, faults = kept, 0
    for source, fault in done:
        count += 1
        faults += fault is not None
        click.echo(f"{count} of {total}: {source}{'' if fault is None else f': {fault}'}", err=True)
    if faults:
        raise click.ClickException(f"{faults} of {total} files have failed; the others are written")
