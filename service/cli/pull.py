"""`lstm-serve pull`: a shared model into the folder of models."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from service.settings import Settings

_MODELS: Path = Settings.model_fields["models"].default


def models_option(command: click.decorators.FC) -> click.decorators.FC:
    """`--models`, as the server has it."""
    return click.option(
        "--models",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="LSTM_SERVE_MODELS",
        default=_MODELS,
        help="folder of checkpoints [default: that of the shipped ones]",
    )(command)


@click.command("pull")
@click.argument("source")
@models_option
@click.option("--name", default="", help="of the model here [default: as it is there]")
@click.option("--digest", default="", help="that the model must have: sha256:...")
@click.option("--replace", is_flag=True, help="take the place of another model of that name")
@click.option(
    "--max-mb",
    type=click.IntRange(min=1),
    default=2048,
    show_default=True,
    help="largest weights that are taken",
)
def command(source: str, models: Path, name: str, digest: str, replace: bool, max_mb: int) -> None:
    """Fetch a model that somebody shares: the folder of a checkpoint, by its path or its URL
    (http, https, file). What came is verified before it takes its place, whole or not at all.
    """
    from service.shared_models import PullError, pull

    try:
        pulled = pull(
            source,
            models,
            name=name,
            digest=digest,
            replace=replace,
            max_bytes=max_mb << 20,
            told=lambda file, size: print(f"{size:>12,}  {file}", file=sys.stderr),
        )
    except (PullError, OSError) as error:
        raise click.ClickException(str(error)) from None
    told = "pulled" if pulled.changed else "already there"
    click.echo(f"{told}: {pulled.folder}, {pulled.digest}")
    click.echo(f"serve it: lstm-serve serve --model {pulled.folder}")
