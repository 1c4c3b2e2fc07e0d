"""What an engine's owner tells it: picklable, and light to import, for the server has no engine.

Each is a tuple of what it is about, so that one of them costs a pipe little.
"""

from __future__ import annotations

from service.engine.hosts.wire import LargeRequest
from service.engine.request import EngineRequest


class Add(tuple[EngineRequest]):
    """Command: queue a request."""


class AddLarge(tuple[LargeRequest]):
    """Command: queue a request of many tokens."""


class Abort(tuple[str]):
    """Command: forget the request of that id."""


class StopSample(tuple[str, int, int]):
    """Command: end one continuation (request id, prompt, sample)."""


class Hold(tuple[str]):
    """Command: let the request of that id rest."""


class Resume(tuple[str]):
    """Command: let it go on."""


class Ping(tuple[()]):
    """Command: give a sign of life."""


class Quit(tuple[()]):
    """Command: leave the loop."""


Command = Add | AddLarge | Abort | StopSample | Hold | Resume | Ping | Quit
