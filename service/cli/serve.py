"""`lstm-serve serve`: every setting is an option, and an environment variable."""

from __future__ import annotations

import os
import signal
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, Union, get_args, get_origin, runtime_checkable

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from service.hidden_arguments import hide_arguments
from service.listening import ListenError, open_socket
from service.settings import Settings, check_environment

_PROJECT = Path(__file__).parents[2]


@runtime_checkable
class Launchable(Protocol):
    """An engine that can begin to load before there is an event loop."""

    def launch(self) -> None: ...


def _serve(**given: Any) -> None:
    """Serve checkpoints until SIGTERM or Ctrl-C.

    Each option is also an environment variable: LSTM_SERVE_PORT for --port.
    """
    early = EarlyEnd()
    before = signal.signal(signal.SIGTERM, early.note)  # the server has its own, once it is there
    try:
        _start(read_settings(given), early)
    finally:
        signal.signal(signal.SIGTERM, before)


class EarlyEnd:
    """Whether SIGTERM came before there was a server to obey it.

    Noted, not raised: an exception of a signal handler is lost, and the signal with it, where C
    code ignores it, as the import of an extension module may.
    """

    def __init__(self) -> None:
        self.came = False

    def note(self, sig: int, frame: types.FrameType | None) -> None:  # noqa: ARG002
        """Handle the signal."""
        self.came = True


def _start(settings: Settings, early: EarlyEnd) -> None:
    hide_arguments(secrets_of(settings))
    if not settings.model.is_dir():
        raise click.ClickException(f"no checkpoint at {settings.model}: there is no such folder")
    try:
        listener = open_socket(settings)  # before a model loads, which takes seconds
    except ListenError as error:
        raise click.ClickException(str(error)) from None
    # Imported now, so that --help and refusals need not wait; and the web framework, which takes
    # as long as the model, while the engine loads that.
    from service.engine.hosts.build import build_engine

    engine = build_engine(settings.model, settings.engine_options)
    if isinstance(engine, Launchable):
        engine.launch()
    from service.server import run

    try:
        run(settings, engine, [listener], told_to_end=lambda: early.came)
    except (RuntimeError, ValueError) as error:
        raise click.ClickException(f"cannot serve {settings.model}: {error}") from error


def secrets_of(settings: Settings) -> list[str]:
    """What nobody who lists processes should read."""
    keys = [*settings.api_keys, *([settings.state_key] if settings.state_key else [])]
    return [key.get_secret_value() for key in keys]


def read_settings(given: Mapping[str, Any]) -> Settings:
    """Settings of the command line over those of the environment; a fault is a usage error."""
    try:
        check_environment(os.environ)
        return Settings(**{k: v for k, v in given.items() if v not in (None, ())})
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise click.UsageError(f"setting {name}: {fault['msg']}") from None
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def setting_options() -> list[click.Parameter]:
    """An option for each setting."""
    return [_option(name, field) for name, field in Settings.model_fields.items()]


def _option(name: str, field: FieldInfo) -> click.Option:
    """The command line's option for one setting."""
    types_ = [t for t in _members(field.annotation) if t is not type(None)]
    kind: Any = types_[0] if types_[0] in (int, float, bool) else str
    option = "--api-key" if name == "api_keys" else "--" + name.replace("_", "-")
    if get_origin(types_[0]) is Literal:
        kind = click.Choice(get_args(types_[0]))
    default = field.default
    is_many = get_origin(field.annotation) is tuple
    if isinstance(default, Path):  # the same text wherever the package lies
        default = default.relative_to(_PROJECT)
    shown = "" if default in (None, ()) else f"  [default: {default}]"
    return click.Option(
        [f"{option}/--no-{option.removeprefix('--')}" if kind is bool else option, name],
        type=kind,
        default=None,
        multiple=is_many,
        help=f"{field.description}{shown}",
    )


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


command = click.Command(
    "serve",
    callback=_serve,
    help=_serve.__doc__,
    params=setting_options(),
)
