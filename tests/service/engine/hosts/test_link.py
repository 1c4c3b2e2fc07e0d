"""The server's end of the socket pair speaks as `multiprocessing.connection` does at the other."""

from __future__ import annotations

import asyncio
import socket
from multiprocessing.connection import Connection
from typing import Any

import pytest

from service.engine.hosts.link import Link
from tests.service.engine.asking import until


class Pair:
    """A link, the process's end of it, and what was told by the link."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.num_lost = 0
        self._ours, theirs = socket.socketpair()
        self.theirs = Connection(theirs.detach())

    async def open(self) -> Link:
        return await Link.open(self._ours, self.messages.append, self._on_lost)

    def _on_lost(self) -> None:
        self.num_lost += 1


async def test_messages_of_every_size_arrive_in_their_order() -> None:
    pair = Pair()
    link = await pair.open()
    sent = [None, "a" * 10, list(range(50_000)), b"x" * 5_000_000, {"k": (1, 2.5)}]
    for message in sent:
        await asyncio.to_thread(pair.theirs.send, message)
    await until(lambda: len(pair.messages) == len(sent))
    assert pair.messages == sent
    for message in sent:
        link.send(message)
    assert await asyncio.to_thread(lambda: [pair.theirs.recv() for _ in sent]) == sent
    link.close()


async def test_sending_never_waits_for_the_other_end() -> None:
    pair = Pair()
    link = await pair.open()
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(20):
        link.send(b"x" * 1_000_000)
    assert loop.time() - started < 2
    assert link.num_unsent_bytes > 15_000_000
    for _ in range(20):
        assert len(await asyncio.to_thread(pair.theirs.recv)) == 1_000_000
    await until(lambda: link.num_unsent_bytes == 0)
    link.close()


async def test_the_end_is_told_once_and_nothing_can_be_sent_after_it() -> None:
    pair = Pair()
    link = await pair.open()
    pair.theirs.close()
    await until(lambda: pair.num_lost == 1)
    with pytest.raises(ConnectionError):
        link.send("news")
    link.close()
    await asyncio.sleep(0.01)
    assert pair.num_lost == 1


def test_it_speaks_on_the_loop_that_uvicorn_takes() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not made for this system")

    async def exchange() -> list[Any]:
        pair = Pair()
        link = await pair.open()
        pair.theirs.send("there")
        await until(lambda: bool(pair.messages))
        link.send("back")
        answer = await asyncio.to_thread(pair.theirs.recv)
        link.close()
        return [*pair.messages, answer]

    assert uvloop.run(exchange()) == ["there", "back"]
