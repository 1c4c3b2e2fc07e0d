"""Which place of the service a stack belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

ELSEWHERE = "event loop, other"
# What a file's path contains, and its place. The first that fits counts.
_PLACES = (
    ("/service/engine/runners/", "kernel"),
    ("/service/engine/sampling/", "draw"),
    ("/service/engine/hosts/", "pipe"),
    ("/service/engine/", "engine's loop"),
    ("/multiprocessing/", "pipe"),
    ("/service/text/", "text"),
    ("/models/", "text"),
    ("/service/api/", "routes"),
    ("/service/http/", "middleware, framework"),
    ("/starlette/", "middleware, framework"),
    ("/fastapi/", "middleware, framework"),
    ("/uvicorn/protocols/", "server's protocol, socket"),
)
PLACES = (*dict.fromkeys(place for _, place in _PLACES), ELSEWHERE)


def place_of(files: Iterable[str]) -> str:
    """Of a stack, innermost file first: the first file that has a place decides.

    So a library's time is its caller's, unless the library has a place of its own.
    """
    for name in files:
        for part, place in _PLACES:
            if part in name:
                return place
    return ELSEWHERE


def by_place(counts: Mapping[str, int]) -> Counter[str]:
    """Samples by place, of stacks whose files stand on a line each."""
    found: Counter[str] = Counter()
    for stack, samples in counts.items():
        found[place_of(stack.split("\n"))] += samples
    return found
