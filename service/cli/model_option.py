"""`--model`: a checkpoint by its folder, or by the name of one that is shipped."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click

from models.checkpoint import CheckpointError
from service.language_model import LanguageModel
from service.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_PRETRAINED: Path = Settings.model_fields["models"].default
_DEFAULT: Path = Settings.model_fields["model"].default


def model_options(command: F) -> F:
    """The options that say which model computes, and how."""
    for option in (
        click.option(
            "--precision",
            type=click.Choice(["auto", "int8", "fp32"]),
            default="auto",
            show_default=True,
            help="arithmetic of the matrix products",
        ),
        click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True),
        click.option(
            "--model",
            default=_DEFAULT.name,
            show_default=True,
            help="checkpoint folder, or the name of a shipped one",
        ),
    ):
        command = option(command)
    return command


def open_model(model: str, precision: str, threads: int) -> LanguageModel:
    """The model that the options name; a ClickException says what is wrong with it."""
    try:
        return LanguageModel.load(find_model(model), precision=precision, threads=threads)
    except (CheckpointError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def find_model(name: str) -> Path:
    """The folder that `name` is, or the shipped checkpoint of that name."""
    if Path(name).is_dir():
        return Path(name)
    if (_PRETRAINED / name).is_dir():
        return _PRETRAINED / name
    shipped = sorted(folder.name for folder in _PRETRAINED.iterdir() if folder.is_dir())
    nearest = get_close_matches(name, shipped, 1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"shipped are {', '.join(shipped)}"
    raise click.ClickException(f"no checkpoint at {name!r}, and none is shipped as such; {hint}")
