"""`lstm-serve chat`: a conversation in the terminal, carried by a state of constant size."""

from __future__ import annotations

from typing import Any

import click

from service.cli.generate import sampling_options
from service.cli.model_option import model_options, open_model
from service.results import TextState


@click.command("chat")
@model_options
@sampling_options
@click.option("--system", default="", help="how the conversation is introduced to the model")
def command(model: str, precision: str, threads: int, system: str, **fields: Any) -> None:
    """Talk with the model; an empty line or the end of input ends it.

    A model of this size is good for small talk and for the tasks it was trained on; it keeps no
    facts.
    """
    with open_model(model, precision, threads) as opened:
        messages = [{"role": "system", "content": system}] if system else []
        state: TextState | None = None
        while line := _ask():
            messages.append({"role": "user", "content": line})
            try:
                said = opened.chat(messages, state=state, return_state=True, **fields)
            except ValueError as error:
                raise click.ClickException(str(error)) from None
            click.echo(f"< {said.text}")
            messages, state = [], said.state


def _ask() -> str:
    try:
        line: str = click.prompt(">", default="", show_default=False, prompt_suffix=" ")
    except click.Abort:
        click.echo()
        return ""
    return line.strip()
