"""The prefix under which a proxy offers the service, whether or not the proxy strips it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.dependencies import AppContext


class PrefixMiddleware:
    """The server puts `root_path` before every path; one that came with it has it twice then."""

    def __init__(self, app: ASGIApp, context: Callable[[], AppContext]) -> None:
        self.app, self._prefix = app, context().settings.root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = self._prefix
        if prefix and scope["type"] == "http" and scope["path"].startswith(f"{prefix}{prefix}/"):
            raw: bytes = scope["raw_path"]
            shorter = {
                "path": scope["path"].removeprefix(prefix),
                "raw_path": raw.removeprefix(prefix.encode()),
            }
            scope = {**scope, **shorter}
        await self.app(scope, receive, send)
