"""Where many sequences begin: computing a shared context once, as a state."""

from __future__ import annotations

from dataclasses import dataclass, replace

from service.api.computing import collect, new_request_id
from service.api.errors import invalid
from service.api.prompts import History
from service.engine.request import Priority, Request
from service.serving import ServedModel


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A history whose final tokens are in its state, and how many of them were cached."""

    history: History
    cached_tokens: int


async def settle(
    model: ServedModel, history: History, priority: Priority, *, waits: bool = False
) -> Settled:
    """`history` with its token ids turned into a state, in at most one request.

    Sequences that start from a state are bit for bit those that were sent whole. `waits`: as for
    `collect`.
    """
    if not history.ids:
        return Settled(history=history, cached_tokens=0)
    request = Request(
        request_id=new_request_id(),
        prompts=(history.ids,),
        start=history.start,
        state_at=(len(history.ids),),
        priority=priority,
    )
    collected = await collect(model.engine, request, waits=waits)
    state = collected.prompts[0].state
    assert state is not None
    return Settled(
        history=replace(history, start=state, ids=()), cached_tokens=collected.cached_tokens
    )


def check_begun(history: History) -> None:
    """Refuse a state in front of which nothing stands: what follows it has no probability."""
    if history.start is None and not history.ids:
        raise invalid(
            "state", "is of a sequence without begin-of-sequence that has no whole token yet"
        )
