"""A client of event streams that costs little: it keeps what arrives and reads it afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

Arrival = tuple[float, bytes]  # seconds on the performance counter, and what came then

_DONE = "[DONE]"


@dataclass(frozen=True, slots=True)
class Stream:
    """One finished stream. Times are on the performance counter.

    event_times: when each event with text had wholly arrived.
    tokens: how many were generated, by the usage that the service reports.
    """

    begin: float
    end: float
    event_times: list[float]
    tokens: int


def post(path: str, host: str, body: dict[str, Any]) -> bytes:
    """An HTTP/1.1 request that asks for the connection to be closed after its answer."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + content


class _Receiver(asyncio.Protocol):
    """Sends a request when connected, and collects the answer until the connection is closed."""

    def __init__(self, request: bytes, done: asyncio.Future[None]) -> None:
        self._request, self._done = request, done
        self.arrivals: list[Arrival] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.arrivals.append((time.perf_counter(), data))

    def connection_lost(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


async def receive(host: str, port: int, request: bytes) -> tuple[float, list[Arrival]]:
    """Send a request on a connection of its own; when that began, and all that came back."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    begin = time.perf_counter()
    _, receiver = await loop.create_connection(lambda: _Receiver(request, done), host, port)
    await done
    return begin, receiver.arrivals


def read_stream(begin: float, arrivals: Sequence[Arrival]) -> Stream:
    """What a stream said; its last event but one must be the usage.

    Raises RuntimeError where it is no whole stream.
    """
    raw = b"".join(data for _, data in arrivals)
    head, separator, body = raw.partition(b"\r\n\r\n")
    if not separator or b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(f"the service refused a stream: {raw[:400]!r}")
    ends = list(accumulate(len(data) for _, data in arrivals))
    first = len(raw) - len(body)
    events = [
        (json.loads(data), arrivals[bisect_left(ends, first + end)][0])
        for end, data in _events(body)
        if data != _DONE
    ]
    if not events or not raw.endswith(b"0\r\n\r\n") or not events[-1][0].get("usage"):
        raise RuntimeError(f"a stream broke off or has no usage: ...{raw[-400:]!r}")
    usage = events[-1][0]["usage"]
    times = [when for data, when in events if data["choices"]]
    return Stream(begin, arrivals[-1][0], times, usage["completion_tokens"])


def _events(body: bytes) -> Iterator[tuple[int, str]]:
    """The data of each event of a chunked body, and where the chunk that completes it ends."""
    position, pending = 0, b""
    while position < len(body):
        line_end = body.index(b"\r\n", position)
        size = int(body[position:line_end].split(b";")[0], 16)
        start = line_end + 2
        position = start + size + 2
        *whole, pending = (pending + body[start : start + size]).split(b"\n\n")
        for event in whole:
            if event.startswith(b"data: "):
                yield start + size, event.removeprefix(b"data: ").decode()
