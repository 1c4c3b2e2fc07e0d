"""`lstm-serve check-config`: would the server start with these settings?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from service.cli.serve import read_settings, setting_options
from service.settings import Settings


def _check_config(**given: Any) -> None:
    """Check settings, files and the address as `serve` would take them; nothing is served.

    Exit code 0 where the server would start, 1 with a line for each fault where it would not.
    """
    settings = read_settings(given)
    faults = 0
    for name, check in _checks(settings):
        try:
            told = check()
        except (ValueError, RuntimeError, OSError) as error:
            faults += 1
            click.echo(f"FAULT {name}: {error}")
        else:
            click.echo(f"ok    {name}: {told}")
    if faults:
        raise click.exceptions.Exit(1)


def _checks(settings: Settings) -> Iterator[tuple[str, Callable[[], str]]]:
    """What is checked, by name; each returns what it found or raises."""
    yield "model", lambda: _check_model(settings)
    yield "keys", lambda: _check_keys(settings)
    yield "states", lambda: f"{len(settings.state_keys())} key(s)"
    yield "address", lambda: _check_address(settings)
    if settings.tls_certificate is not None:
        yield "TLS", lambda: _check_tls(settings)


def _check_model(settings: Settings) -> str:
    from service.engine.hosts.build import estimated_bytes
    from service.engine.runners.base import why_not_servable
    from service.served_model import read_facts

    facts = read_facts(settings.model)
    if reason := why_not_servable(facts.config):
        raise ValueError(reason)
    options = settings.engine_options
    size = estimated_bytes(facts.config, replicas=options.replicas, cache_bytes=options.cache_bytes)
    return f"{facts.name}, {facts.digest[:19]}..., about {size >> 20} MiB when loaded"


def _check_keys(settings: Settings) -> str:
    from service.keys import KeyRing

    ring = KeyRing((key.get_secret_value() for key in settings.api_keys), settings.api_keys_file)
    if ring.is_empty:
        where = "this machine" if settings.is_loopback else "whoever reaches the address"
        return f"none: {where} may use the service"
    return f"{ring.num_keys} key(s)"


def _check_address(settings: Settings) -> str:
    from service.listening import open_socket

    with open_socket(settings) as listener:
        address = listener.getsockname()
    if settings.unix_socket is not None:
        settings.unix_socket.unlink()
        return f"{settings.unix_socket} is free"
    return f"{address[0]}, port {address[1]} is free"


def _check_tls(settings: Settings) -> str:
    import ssl

    assert settings.tls_certificate is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return f"{settings.tls_certificate} fits its key"


command = click.Command(
    "check-config", callback=_check_config, help=_check_config.__doc__, params=setting_options()
)
