"""The process that serves: announces itself, drains on a signal, and says why it cannot run."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import partial
from types import FrameType
from typing import Any, cast

import click
import uvicorn

from models.checkpoint import num_parameters
from service.app import create_app
from service.engine.hosts.async_engine import AsyncEngine
from service.http.connection import BoundedConnection, ConnectionLimits
from service.http.dependencies import AppContext
from service.logs import logging_to_stderr
from service.served_model import ServedModel
from service.settings import Settings

logger = logging.getLogger(__name__)

# After the grace period is over: to send what the end of the engines leaves to be said.
_LAST_WORDS_S = 5


def run(
    settings: Settings,
    engine: AsyncEngine | None = None,
    sockets: list[socket.socket] | None = None,
    *,
    told_to_end: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until a signal. Raises what prevents the default model's loading.

    engine: one for the default model that is on its way already; sockets: listening already.
    told_to_end: whether a signal came before the server could handle it.
    """
    with logging_to_stderr(settings.log_level, settings.log_format):
        app = create_app(settings, engine=engine)
        server = Server(app, app.state.context, told_to_end)
        if server.context.keys.is_empty and not settings.is_loopback:
            logger.warning(
                "listening on %s without an API key: whoever reaches this address may use the "
                "service; set LSTM_SERVE_API_KEYS",
                settings.host,
            )
        server.run(sockets)
    lifecycle = server.context.lifecycle
    if lifecycle.failure is not None and not lifecycle.is_draining:  # told to end: no failure
        raise lifecycle.failure


class Server(uvicorn.Server):
    """Uvicorn, with draining before its own shutdown.

    On the first SIGTERM or SIGINT the port stays open: readiness is 503, new work is refused, and
    work in flight has the grace period. Then the engines stop, which ends what is still streaming
    with an error event, and uvicorn shuts down. A second signal ends at once.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        context: AppContext,
        told_to_end: Callable[[], bool] = lambda: False,
    ) -> None:
        """`app`: an ASGI application over `context`; told_to_end: as `run` has it."""
        self.context, settings = context, context.settings
        self._told_to_end = told_to_end
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            http=cast(Any, partial(BoundedConnection, limits=ConnectionLimits.of(settings))),
            ws="none",
            backlog=min(settings.max_connections, 2048),
            root_path=settings.root_path,
            forwarded_allow_ips=settings.trusted_proxies,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
            server_header=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=_LAST_WORDS_S,
        )
        super().__init__(config)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        before = signal.getsignal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, self._handle_hangup)
        try:
            await super().serve(sockets)
        finally:
            signal.signal(signal.SIGHUP, before)

    def _handle_hangup(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """SIGHUP: take up what has changed on disk; whatever is served goes on."""
        self._loop.call_soon_threadsafe(self._begin_reload)

    def _begin_reload(self) -> None:
        logger.info("SIGHUP: looking for what has changed")
        self._spawn(self.context.registry.reload_changed())

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._spawn(self._announce())
        if self._told_to_end():  # asked now that `handle_exit` gets whatever comes later
            self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # Not recorded as uvicorn would, which raises the signal again: a drained exit is code 0.
        if self.context.lifecycle.is_draining:
            self.should_exit = self.force_exit = True
        else:
            self.context.lifecycle.is_draining = True
            self._loop.call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._spawn(self._drain())

    async def _drain(self) -> None:
        context = self.context
        logger.info("draining: %d requests in flight", context.lifecycle.in_flight)
        if not await context.lifecycle.drain(context.settings.grace_s):
            logger.warning("%d requests did not end in time", context.lifecycle.in_flight)
        await context.registry.stop(grace_s=0)
        self.should_exit = True

    async def _announce(self) -> None:
        try:
            await self.context.lifecycle.wait_started()
        except Exception:  # raised again by `run`, unless it was told to end while it loaded
            self.should_exit = True
            return
        default, *_ = self.context.registry.loaded()
        settings = self.context.settings
        for line in describe(default):
            click.echo(line)
        root = settings.root_path
        click.echo(
            f"listening on {self._address()} (playground: {root}/, API reference: {root}/docs)"
        )

    def _address(self) -> str:
        listener = self.servers[0].sockets[0]
        if listener.family == socket.AF_UNIX:
            return f"unix:{listener.getsockname()}"
        host, port = listener.getsockname()[:2]
        scheme = "http" if self.context.settings.tls_certificate is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def describe(model: ServedModel) -> Iterator[str]:
    """What is served, and its measured quality."""
    info = model.engine.info
    millions = num_parameters(model.config) / 1e6
    yield (
        f"serving {model.name}: {millions:.1f}M parameters, {model.config.vocab_size} tokens, "
        f"{info.precision} on {info.device}"
    )
    texts = list(_measured_texts(model.metrics))
    numbers = (f"  {k}: {v:.4g}" for k, v in model.metrics.items() if _is_number(v))
    yield from texts or numbers


def _measured_texts(metrics: Mapping[str, Any], groups: int = 1) -> Iterator[str]:
    """Of each text that was measured, the two figures that compare.

    groups: depth of groups that are looked into; deeper down are the figures of other models.
    """
    for name, value in metrics.items():
        if not isinstance(value, Mapping):
            continue
        bits, perplexity = value.get("bits_per_byte"), value.get("word_perplexity")
        told = [f"{bits:.3f} bits per byte"] if _is_number(bits) else []
        told += [f"word perplexity {perplexity:.4g}"] if _is_number(perplexity) else []
        if told:
            yield f"  {name}: {', '.join(told)}"
        elif groups:
            yield from _measured_texts(value, groups - 1)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
