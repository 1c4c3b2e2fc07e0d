"""The asyncio side alone: queues, bounds, and who is told what, with a worker made of lists."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from service.engine.hosts.async_engine import (
    AsyncEngine,
    EngineFront,
    EngineInfo,
    EngineUnavailableError,
    QueueFullError,
)
from service.engine.hosts.commands import Abort, Add, Command, Hold, Resume, StopSample
from service.engine.request import RequestOutput, TokenOutput
from service.engine.stats import EngineStats
from tests.service.engine.asking import ask, endless

INFO = EngineInfo(digest="d", device="cpu", precision="fp32", vocab_size=9, state_size=4)


class ListFront(EngineFront):
    """Its worker notes the commands and does nothing."""

    def __init__(self, max_num_seqs: int = 2, max_waiting: int = 1) -> None:
        super().__init__(max_num_seqs, max_waiting)
        self.sent: list[Command] = []
        self.ended = False

    async def start(self) -> None:
        self._info, self._ready = INFO, True

    async def _end(self) -> None:
        self._ready, self.ended = False, True

    def _send(self, command: Command) -> None:
        self.sent.append(command)

    def answer(self, request_id: str, *, finished: bool = True, tokens: int = 0) -> None:
        token = TokenOutput(prompt=0, sample=0, token_id=1, logprob=-1.0)
        output = RequestOutput(request_id=request_id, tokens=(token,) * tokens, finished=finished)
        self._dispatch([output], EngineStats({"steps": 1}))


async def started(max_num_seqs: int = 2, max_waiting: int = 1) -> ListFront:
    front = ListFront(max_num_seqs, max_waiting)
    await front.start()
    return front


async def begun(front: AsyncEngine, request_id: str) -> asyncio.Task[object]:
    """A task that waits for the outputs of a request that has been sent."""
    task: asyncio.Task[object] = asyncio.create_task(ask(front, endless(request_id)))
    await asyncio.sleep(0)
    return task


async def test_outputs_go_to_their_requests_until_the_last() -> None:
    front = await started()
    first, second = await begun(front, "1"), await begun(front, "2")
    assert front.num_requests == 2
    front.answer("2", finished=False)
    front.answer("1")
    await first
    assert not second.done()
    front.answer("2")
    await second
    assert front.num_requests == 0
    assert front.sent == [Add((endless("1"),)), Add((endless("2"),))]
    assert front.stats() == EngineStats({"steps": 1})


async def test_closing_the_stream_early_aborts() -> None:
    front = await started()
    async with aclosing(front.submit(endless("1"))) as outputs:
        following = asyncio.ensure_future(anext(outputs))
        await asyncio.sleep(0)
        front.answer("1", finished=False)
        await following
    assert front.sent[1:] == [Abort(("1",))]
    assert front.num_requests == 0
    front.answer("1")  # on its way when the abort was sent: nobody is there to take it


async def test_a_cancelled_consumer_aborts() -> None:
    front = await started()
    task = await begun(front, "1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert Abort(("1",)) in front.sent


async def test_a_queue_at_its_bound_refuses_and_computes_nothing() -> None:
    front = await started(max_num_seqs=2, max_waiting=1)
    tasks = [await begun(front, str(k)) for k in range(3)]
    with pytest.raises(QueueFullError) as refusal:
        await ask(front, endless("one too many"))
    assert refusal.value.retry_after > 0
    assert len(front.sent) == 3
    front.answer("1")
    await tasks[1]
    tasks.append(await begun(front, "now"))
    for name in ("0", "2", "now"):
        front.answer(name)
    await asyncio.gather(*tasks)


async def test_an_engine_that_was_not_started_refuses() -> None:
    front = ListFront()
    assert not front.is_ready
    with pytest.raises(EngineUnavailableError):
        await ask(front, endless())


async def test_stopping_lets_work_finish_and_takes_no_more() -> None:
    front = await started()
    task = await begun(front, "1")
    stopping = asyncio.create_task(front.stop(60))
    await asyncio.sleep(0)
    assert not front.is_ready
    with pytest.raises(EngineUnavailableError):
        await ask(front, endless("2"))
    front.answer("1")
    await task
    await stopping
    assert front.ended


async def test_grace_has_an_end() -> None:
    front = await started()
    task = await begun(front, "1")
    await front.stop(0.05)
    assert front.ended
    with pytest.raises(EngineUnavailableError, match="shutting down"):
        await task


async def test_a_sample_is_stopped_only_while_its_request_is_in_flight() -> None:
    front = await started()
    front.stop_sample("1", 0, 0)
    task = await begun(front, "1")
    front.stop_sample("1", 0, 2)
    front.answer("1")
    await task
    front.stop_sample("1", 0, 1)
    assert front.sent[1:] == [StopSample(("1", 0, 2))]


async def test_a_request_rests_while_its_outputs_are_not_taken() -> None:
    front = await started()
    async with aclosing(front.submit(endless("slow"))) as outputs:
        first = asyncio.ensure_future(anext(outputs))
        await asyncio.sleep(0)
        for _ in range(50):
            front.answer("slow", finished=False, tokens=10)
        assert front.sent[1:] == [Hold(("slow",))], "told once, however much is on its way"
        taken = [await first]
        while len(front.sent) == 2:
            taken.append(await anext(outputs))
        assert front.sent[2:] == [Resume(("slow",))]
        assert 10 < len(taken) < 50, "neither at the first that is taken nor after the last"
        front.answer("slow", tokens=1)
        taken += [output async for output in outputs]
        assert sum(len(output.tokens) for output in taken) == 501


async def test_who_takes_what_comes_is_never_made_to_rest() -> None:
    front = await started()
    task = await begun(front, "1")
    for _ in range(100):
        front.answer("1", finished=False, tokens=66)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    front.answer("1")
    await task
    assert len(front.sent) == 1
