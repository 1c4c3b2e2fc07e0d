"""Several engines as one: who gets what, and what they share."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from service.engine.hosts.async_engine import EngineOptions, EngineUnavailableError, QueueFullError
from service.engine.hosts.build import build_engine
from service.engine.hosts.commands import Abort, StopSample
from service.engine.hosts.process import ProcessEngine
from service.engine.hosts.replicas import ReplicatedEngine
from service.engine.hosts.thread import ThreadEngine
from service.engine.stats import EngineStats
from tests.service.engine.asking import ask, ask_all, endless, until
from tests.service.engine.hosts.test_async_engine import ListFront, begun


async def replicas(count: int, max_waiting: int = 1) -> tuple[ReplicatedEngine, list[ListFront]]:
    fronts = [ListFront(max_num_seqs=1, max_waiting=max_waiting) for _ in range(count)]
    engine = ReplicatedEngine(fronts)
    await engine.start()
    return engine, fronts


async def streams(engine: ReplicatedEngine, *names: str) -> dict[str, asyncio.Task[object]]:
    return {name: await begun(engine, name) for name in names}


async def test_each_request_goes_to_the_engine_with_the_fewest() -> None:
    engine, fronts = await replicas(2)
    tasks = await streams(engine, "1", "2", "3")
    assert [front.num_requests for front in fronts] == [2, 1]
    fronts[0].answer("1")
    fronts[0].answer("3")
    await asyncio.gather(tasks["1"], tasks["3"])
    tasks |= await streams(engine, "4")
    assert [front.num_requests for front in fronts] == [1, 1]
    fronts[0].answer("4")
    fronts[1].answer("2")
    await asyncio.gather(*tasks.values())


async def test_a_full_engine_is_full_only_if_all_are() -> None:
    engine, fronts = await replicas(2, max_waiting=0)
    tasks = await streams(engine, "1", "2")
    with pytest.raises(QueueFullError):
        await ask(engine, endless("3"))
    for front, name in zip(fronts, tasks, strict=True):
        front.answer(name)
    await asyncio.gather(*tasks.values())


async def test_an_engine_that_is_not_ready_gets_nothing() -> None:
    engine, fronts = await replicas(2)
    fronts[0]._ready = False
    assert engine.is_ready
    tasks = await streams(engine, "1", "2")
    assert [front.num_requests for front in fronts] == [0, 2]
    for name in tasks:
        fronts[1].answer(name)
    await asyncio.gather(*tasks.values())
    fronts[1]._ready = False
    assert not engine.is_ready
    with pytest.raises(EngineUnavailableError):
        await ask(engine, endless("3"))


async def test_commands_reach_the_engine_that_has_the_request() -> None:
    engine, fronts = await replicas(2)
    tasks = await streams(engine, "1", "2")
    engine.stop_sample("2", 0, 1)
    engine.stop_sample("unknown", 0, 1)
    assert fronts[1].sent[1:] == [StopSample(("2", 0, 1))]
    tasks["2"].cancel()
    await asyncio.wait([tasks["2"]])
    assert fronts[1].sent[2:] == [Abort(("2",))]
    assert len(fronts[0].sent) == 1
    fronts[0].answer("1")
    await tasks["1"]


async def test_numbers_are_sums() -> None:
    engine, fronts = await replicas(2)
    for front, name in zip(fronts, "12", strict=True):
        front.answer(name)
    assert engine.stats() == EngineStats({"steps": 2})


async def test_stopping_stops_all() -> None:
    engine, fronts = await replicas(3)
    await engine.stop(0)
    assert all(front.ended for front in fronts)


async def test_processes_share_the_table_and_the_load(checkpoint: Path) -> None:
    """And the death of one leaves the other at work, with the same bits from both."""
    engine = build_engine(checkpoint, EngineOptions(device="cpu", replicas=2))
    assert isinstance(engine, ReplicatedEngine)
    await engine.start()
    parts = [part for part in engine._engines if isinstance(part, ProcessEngine)]
    assert len(parts) == 2
    try:
        for part in parts:
            assert "memfd:lstm-serve-table" in Path(f"/proc/{part.pid}/maps").read_text()
        results = [await ask_all(part) for part in parts]
        async with aclosing(engine.submit(endless("1"))) as first:
            await anext(first)
            async with aclosing(engine.submit(endless("2"))) as second:
                await anext(second)
                assert [part.num_requests for part in parts] == [1, 1]
                os.kill(parts[0].pid, signal.SIGKILL)  # type: ignore[arg-type]
                with pytest.raises(EngineUnavailableError):
                    async for _ in first:
                        pass
                assert engine.is_ready
                await anext(second)
        results.append(await ask_all(engine))
        await until(lambda: parts[0].is_ready)
        results.append(await ask_all(parts[0]))
    finally:
        await engine.stop(0)
    bits = [[result.bits() for result in some] for some in results]
    assert all(some == bits[0] for some in bits)
    assert not engine.is_ready


async def test_the_shared_file_is_closed_in_the_end(checkpoint: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    engine = build_engine(checkpoint, EngineOptions(device="cpu", replicas=2))
    await engine.stop(0)
    await engine.stop(0)
    assert set(Path("/proc/self/fd").iterdir()) <= before


def test_one_engine_needs_no_company(checkpoint: Path) -> None:
    assert isinstance(build_engine(checkpoint, EngineOptions(device="cpu")), ProcessEngine)
    alone = build_engine(checkpoint, EngineOptions(device="cpu", mode="thread", replicas=1))
    assert isinstance(alone, ThreadEngine)
