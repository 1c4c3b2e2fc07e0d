"""`lstm-serve next-word`: what may come next, as a table."""

from __future__ import annotations

import math

import click

from service.cli.model_option import model_options, open_model


@click.command("next-word")
@click.argument("context")
@model_options
@click.option("--top", default=10, show_default=True, help="how many of the most probable words")
@click.option("--word", "words", multiple=True, help="a word to tell of in any case; repeatable")
def command(
    context: str, model: str, precision: str, threads: int, top: int, words: tuple[str, ...]
) -> None:
    """The most probable words after CONTEXT, with their probabilities."""
    with open_model(model, precision, threads) as opened:
        try:
            found = opened.next_word(context, top_k=top, words=words)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
    for word in (*found.top, *found.words):
        click.echo(f"{math.exp(word.logprob):10.6f}  {word.word}")
    click.echo(f"{found.unexplored_mass:10.6f}  (all that was not looked at)")
