"""Pages written from the code: every setting, every command with its flags.

    python -m tests.generated_docs

tests/test_generated_docs.py fails when one of them is not what this writes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import service.__main__
import training.__main__
from service.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
_NOTE = "Written by `python -m tests.generated_docs`; not edited by hand."


def settings_page() -> str:
    """Each setting as option, environment variable, default and meaning."""
    options = {option.name: option.opts[0] for option in dict(_click_commands())["serve"].params}
    rows = [["option", "default", "meaning"]]
    for name, field in Settings.model_fields.items():
        rows.append([f"`{options[name]}`", _default(field), _meaning(field)])
    names = [
        f"`{Settings.model_config['env_prefix']}{name.upper()}`" for name in ("port", "state_key")
    ]
    intro = (
        "Every setting is an option of `lstm-serve serve` (and of `make serve ARGS='...'`), and an "
        f"environment variable: `--port` is {names[0]}, `--state-key` is {names[1]}. The command "
        "line goes before the environment. Sizes are in bytes (`-bytes`), mebibytes (`-mb`) or "
        "counts, times in seconds (`-s`). Secrets belong in the environment: a command line can be "
        "read by everybody on the machine.\n\n"
        "An impossible value ends the server at once, with the setting's name and the fault."
    )
    return "\n\n".join(["# Settings", _NOTE, intro, _table(rows)]) + "\n"


def _default(field: FieldInfo) -> str:
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if default in (None, ()):
        return ""
    if isinstance(default, Path):
        return f"`{default.relative_to(DOCS.parent)}`"
    if isinstance(default, int) and not isinstance(default, bool):
        return f"{default:,}"
    return f"`{default}`"


def _meaning(field: FieldInfo) -> str:
    said = field.description or ""
    choices = [
        choice
        for member in (field.annotation, *get_args(field.annotation))
        if get_origin(member) is Literal
        for choice in get_args(member)
    ]
    limits = [
        f"{name} {getattr(limit, key):,}"
        for limit in field.metadata
        for key, name in (("ge", "at least"), ("gt", "more than"), ("le", "at most"))
        if hasattr(limit, key)
    ]
    notes = [f"`{choice}`" for choice in choices] + limits
    return _cell(said + (f" ({', '.join(notes)})" if notes else ""))


def commands_page() -> str:
    """Each command of both programs, with every option."""
    parts = [
        "# Commands",
        _NOTE,
        "`lstm-serve` and `lstm-train` are installed with the package; from a checkout they are "
        "`python -m service` and `python -m training`. `--help` says the same as this page.",
    ]
    for name, command in _click_commands():
        parts += [f"## lstm-serve {name}", *_click_parts(command)]
    for name, parser in _argparse_commands():
        parts += [f"## lstm-train {name}", *_argparse_parts(parser)]
    return "\n\n".join(parts) + "\n"


def _click_commands() -> Iterator[tuple[str, click.Command]]:
    group = service.__main__.main
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield name, command


def _click_parts(command: click.Command) -> Iterator[str]:
    yield _paragraphs(command.help or "")
    if command.name == "serve":
        yield "Its options are the [settings](settings.md)."
        return
    rows = [["", "default", ""]]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            kind = parameter.type
            choices = f" ({', '.join(kind.choices)})" if isinstance(kind, click.Choice) else ""
            rows.append([names, _value(parameter.default), _cell((parameter.help or "") + choices)])
        elif isinstance(parameter, click.Argument):
            rows.append([f"`{(parameter.name or '').upper()}`", "", ""])
    yield _table(rows)


def _argparse_commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in training.__main__._parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _argparse_parts(parser: argparse.ArgumentParser) -> Iterator[str]:
    if parser.description:
        yield _paragraphs(parser.description)
    rows = [["", "default", ""]]
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.dest}`"
        said = (action.help or "") % {"default": action.default, "prog": parser.prog}
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
        rows.append([names, _value(action.default), _cell(said + choices)])
    yield _table(rows)


def _value(default: Any) -> str:
    if callable(default) or isinstance(default, NoneType | bool) or "UNSET" in repr(default):
        return ""
    shown = str(default).removeprefix(f"{DOCS.parent}/")  # wherever the checkout lies
    return f"`{shown}`" if default not in ((), [], "") else ""


def _paragraphs(text: str) -> str:
    text = re.sub(r"[ \t]*\n[ \t]*", "\n", text.strip())
    return "\n\n".join(part.replace("\n", " ") for part in text.split("\n\n"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), "utf-8")
