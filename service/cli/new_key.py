"""`lstm-serve new-key`: a key for a client, and its line for the key file."""

from __future__ import annotations

import click

from service.keys import SCOPES, KeyFileError, new_key


@click.command("new-key")
@click.argument("name")
@click.option(
    "--scopes",
    default="use",
    show_default=True,
    help=f"of {', '.join(sorted(SCOPES))}; with commas",
)
def command(name: str, scopes: str) -> None:
    """Make a key for NAME. The line on the first row goes into the key file, which holds no secret;
    the key on the second goes to its owner, and is shown this once.
    """
    try:
        key, line = new_key(name, scopes.split(","))
    except KeyFileError as error:
        raise click.UsageError(str(error)) from None
    click.echo(line)
    click.echo(key)
