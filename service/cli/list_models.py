"""`lstm-serve list`: what a folder of models holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.cli.pull import models_option

if TYPE_CHECKING:
    from service.shared_models import Listed

_HEAD = ("name", "type", "parameters", "stored as", "chat", "licence", "digest")


@click.command("list")
@models_option
@click.option("--json", "as_json", is_flag=True, help="a JSON object a model, tags among it")
def command(models: Path, as_json: bool) -> None:
    """The models of a folder: kind and size from their configuration, licence from their card."""
    from service.shared_models import PullError, listed

    try:
        found = listed(models)
    except PullError as error:
        raise click.ClickException(str(error)) from None
    if as_json:
        for each in found:
            click.echo(json.dumps(asdict(each), ensure_ascii=False))
        return
    for row in _table([_HEAD, *(_row(each) for each in found)]):
        click.echo(row)
    for each in found:
        if each.fault:
            click.echo(f"{each.name} cannot be used: {each.fault}", err=True)


def _row(model: Listed) -> tuple[str, ...]:
    return (
        model.name,
        model.model_type or "-",
        f"{model.parameters / 1e6:.1f}M",
        model.storage or "-",
        "yes" if model.chat else "no",
        model.license or "-",
        model.digest[:19] or "-",
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
