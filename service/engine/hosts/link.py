"""Messages between the server and an engine process, over a socket pair; sending never blocks.

The framing is that of `multiprocessing.connection.Connection`, which is the process's own end: a
length of four bytes, or -1 and one of eight, then the pickled message.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

_SHORT, _LONG = struct.Struct("!i"), struct.Struct("!Q")
_LARGEST_SHORT = 0x7FFFFFFF


class Link(asyncio.Protocol):
    """The server's end. What cannot be written now waits in memory: see `num_unsent_bytes`."""

    def __init__(self, on_message: Callable[[Any], None], on_lost: Callable[[], None]) -> None:
        """Both are called from the event loop; `on_lost` once, when the other end is gone."""
        self._on_message, self._on_lost = on_message, on_lost
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self.num_received = 0

    @classmethod
    async def open(
        cls,
        ours: socket.socket,
        on_message: Callable[[Any], None],
        on_lost: Callable[[], None],
    ) -> Link:
        """A link over one socket of a pair, which belongs to it from now on."""
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(lambda: cls(on_message, on_lost), sock=ours)
        return link

    @property
    def num_unsent_bytes(self) -> int:
        """What the other end has not taken yet, beyond the socket's own buffer."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, message: object) -> None:
        """Queue a message. Raises ConnectionError once the other end is gone."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the engine process is gone")
        packed = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        if len(packed) > _LARGEST_SHORT:
            header = _SHORT.pack(-1) + _LONG.pack(len(packed))
        else:
            header = _SHORT.pack(len(packed))
        self._transport.writelines((header, packed))

    def close(self) -> None:
        """Drop the connection and what is unsent; `on_lost` is still called."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, as uvloop's transports have the methods without being of the class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._on_lost()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (message := self._take()) is not None:
            self.num_received += 1
            self._on_message(pickle.loads(message))

    def _take(self) -> bytes | None:
        """The next whole message; None while there is none."""
        received, start = self._received, _SHORT.size
        if len(received) < start:
            return None
        (size,) = _SHORT.unpack_from(received)
        if size == -1:
            if len(received) < start + _LONG.size:
                return None
            (size,) = _LONG.unpack_from(received, start)
            start += _LONG.size
        if len(received) < start + size:
            return None
        message = bytes(received[start : start + size])
        del received[: start + size]
        return message
