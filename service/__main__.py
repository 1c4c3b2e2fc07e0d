"""`lstm-serve`, or `python -m service`: the commands of `service.cli`, each loaded when it is used.

The server must start fast: it does not import what the other commands need.
"""

from __future__ import annotations

from importlib import import_module

import click

# Command -> module of `service.cli`, whose attribute `command` it is.
_COMMANDS = {
    "serve": "serve",
    "score": "score",
    "rescore": "rescore",
    "tune": "tune",
    "next-word": "next_word",
    "generate": "generate",
    "chat": "chat",
    "pull": "pull",
    "list": "list_models",
    "check-config": "check_config",
    "new-key": "new_key",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"service.cli.{_COMMANDS[cmd_name]}").command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands)
@click.version_option(package_name="lstm-serve")
def main() -> None:
    """Serve LSTM language models over HTTP, or use one here and now."""


if __name__ == "__main__":
    main(prog_name="python -m service")
