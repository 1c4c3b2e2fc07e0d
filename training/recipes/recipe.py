"""A recipe: which corpora, what is done to each, and where the result is listed for `train`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.corpus import CorpusError, read_lines

Role = Literal["train", "valid", "test"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One source of a recipe.

    name: of the file, relative to the folder of what is prepared; of an untouched file, to that of
    the corpora. lines: what is written there; None takes the file as it is. options: of the source,
    as `train --corpus FILE@options` takes them. `test` parts are written and not listed.
    """

    name: str
    role: Role = "train"
    options: str = ""
    lines: Iterable[str] | None = None


Recipe = Callable[["Corpora"], Iterator[Part]]


@dataclass(frozen=True)
class Corpora:
    """A folder of corpora, one folder each."""

    folder: Path

    def lines(self, name: str) -> Iterator[str]:
        """Stripped lines of a file."""
        return read_lines(self.folder / name)


def prepare(recipe: Recipe, data: Path, out: Path) -> dict[Role, list[str]]:
    """Write what the recipe makes of the corpora; the sources of each role.

    `train.sources` and `valid.sources` in `out` list them, one a line, for `--corpus` and
    `--valid`. A file that is there already was written whole, and is kept.
    """
    sources: dict[Role, list[str]] = {"train": [], "valid": [], "test": []}
    for part in recipe(Corpora(data)):
        if part.lines is None:
            path = data / part.name
        elif not (path := out / part.name).exists():
            _write(path, part.lines)
        sources[part.role].append(f"{path}@{part.options}" if part.options else str(path))
    for role in ("train", "valid"):
        (out / f"{role}.sources").write_text("".join(f"{s}\n" for s in sources[role]), "utf-8")
    return sources


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)
    if unfinished.stat().st_size == 0:
        raise CorpusError(f"the recipe finds nothing for {path}: are the corpora whole?")
    unfinished.rename(path)
