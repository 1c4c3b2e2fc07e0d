"""Which route was meant by a path that is none: for the message of a 404."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType

from starlette.requests import Request
from starlette.routing import BaseRoute, Match

# What other servers call it, without the base URL's /v1, and what does the same here.
_ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "/completion": "/v1/completions",
        "/generate": "/v1/completions",
        "/generate_stream": "/v1/completions",
        "/api/generate": "/v1/completions",
        "/api/chat": "/v1/chat/completions",
        "/messages": "/v1/chat/completions",
        "/chat": "/v1/chat/completions",
        "/embedding": "/v1/embeddings",
        "/embed": "/v1/embeddings",
        "/api/embed": "/v1/embeddings",
        "/api/embeddings": "/v1/embeddings",
        "/pooling": "/v1/embeddings",
        "/apply-template": "/tokenize with messages, or the template in /tokenizer_info",
        "/render": "/tokenize with messages",
        "/infill": "/v1/score with before, candidates and after",
        "/rerank": "/v1/score with a context, or /v1/rescore",
        "/reranking": "/v1/score with a context, or /v1/rescore",
        "/classify": "/v1/completions with guided_choice, which tells each choice's probability",
        "/props": "/v1/models",
        "/info": "/v1/models",
        "/get_model_info": "/v1/models",
        "/api/tags": "/v1/models",
        "/slots": "/metrics",
        "/load": "/metrics",
        "/ping": "/health/live",
        "/api/version": "/version",
    }
)


def route_meant(request: Request) -> str | None:
    """A hint at the route that was meant; None where nothing comes near the path."""
    path = request.url.path
    bare = path.removeprefix("/v1")
    meant = bare if path != bare else f"/v1{path}"
    scope = {**request.scope, "path": meant}
    if meant.strip("/") and any(
        route.matches(scope)[0] is not Match.NONE for route in request.app.routes
    ):
        hint = "" if path != bare else " OpenAI's clients need a base URL that ends in /v1"
        return f"did you mean {meant}?{hint}"
    if elsewhere := _ELSEWHERE.get(bare.rstrip("/")):
        return f"did you mean {elsewhere}?"
    nearest = get_close_matches(path, _paths(request.app.routes), 1, 0.8)
    return f"did you mean {nearest[0]}?" if nearest else None


def _paths(routes: Iterable[BaseRoute]) -> Iterator[str]:
    """Of all routes that have no parameter in their path."""
    for route in routes:
        router = getattr(route, "original_router", None)  # FastAPI's, around a router's routes
        if router is not None:
            yield from _paths(router.routes)
        elif "{" not in (path := getattr(route, "path", "{")):
            yield path
