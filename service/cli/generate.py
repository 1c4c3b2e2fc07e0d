"""`lstm-serve generate`: a prompt's continuation, as it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from service.cli.model_option import model_options, open_model

F = TypeVar("F", bound=Callable[..., Any])

# Sampling fields that have an option; None leaves them to the checkpoint.
_FIELDS: dict[str, tuple[Any, str]] = {
    "max_tokens": (click.IntRange(min=1), "tokens to generate at most"),
    "temperature": (click.FloatRange(0, 2), "0 takes the most probable token each time"),
    "top_p": (click.FloatRange(0, 1), "keep the smallest set of tokens with this mass"),
    "top_k": (click.IntRange(min=0), "keep so many of the most probable tokens"),
    "repetition_penalty": (click.FloatRange(0.01, 10), "above 1: say less again"),
    "seed": (int, "the same seed gives the same text"),
}


def sampling_options(command: F) -> F:
    """The options of a command that draws tokens."""
    for name, (kind, told) in reversed(_FIELDS.items()):
        command = click.option("--" + name.replace("_", "-"), type=kind, help=told)(command)
    return command


@click.command("generate")
@click.argument("prompt", default="")
@model_options
@sampling_options
@click.option("--stop", multiple=True, help="a string that ends the text; repeatable")
@click.option("-n", "count", default=1, show_default=True, help="continuations, a line each")
def command(
    prompt: str,
    model: str,
    precision: str,
    threads: int,
    stop: tuple[str, ...],
    count: int,
    **fields: Any,
) -> None:
    """How PROMPT may go on."""
    with open_model(model, precision, threads) as opened:
        try:
            if count == 1:
                for text in opened.stream(prompt, stop=stop, **fields):
                    click.echo(text, nl=False)
                click.echo()
            else:
                for each in opened.sample(prompt, count, stop=stop, **fields):
                    click.echo(each.text.replace("\n", "\\n"))
        except ValueError as error:
            raise click.ClickException(str(error)) from None
