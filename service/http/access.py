"""Who may come, and how often: host names, keys and their scopes, quotas. Plain ASGI."""

from __future__ import annotations

import re
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as ASGIScope

from service.admission import QuotaError
from service.http.call import call_of
from service.http.dependencies import AppContext, route_path
from service.http.errors import ApiError, refuse
from service.keys import ApiKey, Scope

GetContext = Callable[[], AppContext]

# Files that everybody has who has the package, and what tells nothing but that the service lives.
_PAGES = re.compile(r"/|/static/[^/]+|/docs(/[^/]+)?|/openapi\.json|/version")
_HEALTH = ("/health", "/health/live", "/health/ready")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
OPEN_WITHOUT_KEY = "/health/live"


def needed_scope(path: str) -> Scope:
    """What a key must be allowed to for a route."""
    if path == "/metrics":
        return "observe"
    return "operate" if path.endswith("/reload") else "use"


def is_open(path: str, *, pages: bool) -> bool:
    """Whether a route needs no key. pages: so do documents, pages and health."""
    if path == OPEN_WITHOUT_KEY:
        return True
    return pages and (path in _HEALTH or _PAGES.fullmatch(path) is not None)


class HostMiddleware:
    """Refuses names that are not this server's.

    A page of somebody else's can point a name of its own at this address and have a browser on
    this machine ask it ("DNS rebinding"); the name is then that page's.
    """

    def __init__(self, app: ASGIApp, context: GetContext) -> None:
        self.app = app
        settings = context().settings
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        if not self._hosts and settings.is_loopback and context().keys.is_empty:
            self._hosts = frozenset((*_LOOPBACK, settings.host.lower()))

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._hosts or self._is_ours(scope):
            await self.app(scope, receive, send)
            return
        refusal = ApiError(
            403,
            "the header 'Host' names another server; LSTM_SERVE_ALLOWED_HOSTS lists further names",
            code="host_not_allowed",
        )
        await refuse(refusal, scope, receive, send)

    def _is_ours(self, scope: ASGIScope) -> bool:
        host = Headers(scope=scope).get("host", "").lower()
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        is_known = name in self._hosts or "*" in self._hosts
        return is_known or not host or scope["server"] is None or scope["server"][1] is None


class KeyMiddleware:
    """Where keys are set, a route needs one that has its scope."""

    def __init__(self, app: ASGIApp, context: GetContext) -> None:
        self.app, self.context = app, context

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        context = self.context()
        if scope["type"] != "http" or context.keys.is_empty:
            await self.app(scope, receive, send)
            return
        key = context.keys.find(_given_key(scope))
        call_of(scope).key = key
        path = route_path(scope)
        is_free = is_open(path, pages=context.settings.open_pages)
        refusal = None if is_free else _refusal(path, key)
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)


class QuotaMiddleware:
    """Bounds requests in flight, and what each key may ask for."""

    def __init__(self, app: ASGIApp, context: GetContext) -> None:
        self.app, self.context = app, context

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        context = self.context()
        if scope["type"] != "http" or needed_scope(route_path(scope)) != "use":
            await self.app(scope, receive, send)
            return
        if is_open(route_path(scope), pages=True):
            await self.app(scope, receive, send)
            return
        try:
            with context.quotas.request(call_of(scope).key_name):
                await self.app(scope, receive, send)
        except QuotaError as error:
            refusal = ApiError(
                429,
                str(error),
                code="rate_limit_exceeded",
                type="rate_limit_error",
                retry_after_s=error.retry_after,
            )
            await refuse(refusal, scope, receive, send)


def _refusal(path: str, key: ApiKey | None) -> ApiError | None:
    if key is None:
        return ApiError(
            401,
            "missing or wrong API key: send the header 'Authorization: Bearer <key>'",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )
    scope = needed_scope(path)
    if scope not in key.scopes:
        return ApiError(
            403,
            f"this key may not {scope}: it has the scopes {', '.join(sorted(key.scopes))}",
            code="insufficient_scope",
        )
    return None


def _given_key(scope: ASGIScope) -> bytes:
    """Of `Authorization: Bearer`, or of `x-api-key` where the other is missing."""
    headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return key.strip()
    return b"" if scheme else headers.get(b"x-api-key", b"").strip()
