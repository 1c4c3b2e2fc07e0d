"""What the API layer sees of an engine, wherever it runs (thread, process, many of them)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from service.engine.request import Request, RequestOutput


class EngineUnavailableError(RuntimeError):
    """The engine is starting, draining or died; the request may be sent again later."""


class QueueFullError(RuntimeError):
    """The waiting queue is at its bound; nothing of the request was computed."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """Facts for `/v1/models/{id}` and for sealing states."""

    digest: str
    device: str
    precision: str
    vocab_size: int
    state_size: int


class AsyncEngine(Protocol):
    """One model, ready to compute. All methods are called from the event loop's thread."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def is_ready(self) -> bool:
        """False while loading, restarting or draining."""
        ...

    async def start(self) -> None:
        """Load the model; returns when it is ready, raises if it cannot be."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Let the work in flight finish for at most `grace_s` seconds, then end."""
        ...

    def submit(self, request: Request) -> AsyncIterator[RequestOutput]:
        """Outputs of `request` until one has `finished`.

        Raises QueueFullError / EngineUnavailableError at the first iteration. Closing the
        iterator early (a client that went away) aborts the request within one step.
        """
        ...

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        """End one continuation early (its text met a stop string); the others go on.

        Tokens already on their way may still arrive; no finish_reason is sent for it.
        """
        ...

    def stats(self) -> Mapping[str, float]:
        """Counters and gauges by name, for the metrics page."""
        ...
