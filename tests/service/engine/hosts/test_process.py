"""An engine in a process of its own: the same bits, and what happens when it dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.checkpoint import load_checkpoint, save_checkpoint
from service.engine.hosts import process
from service.engine.hosts.async_engine import (
    CheckpointReplacedError,
    EngineOptions,
    EngineUnavailableError,
    QueueFullError,
)
from service.engine.hosts.build import build_engine
from service.engine.hosts.loading import load_engine
from service.engine.hosts.process import ProcessEngine
from service.engine.hosts.thread import ThreadEngine
from service.engine.request import EngineRequest
from tests.service.engine.asking import ask, ask_all, endless, until
from tests.service.engine.driving import run

ROOT = Path(__file__).resolve().parents[4]

# Starts an engine for the checkpoint FOLDER, prints its process id, and waits to be killed.
SERVER = """
import asyncio, sys
from pathlib import Path
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.process import ProcessEngine

async def main():
    engine = ProcessEngine(Path(sys.argv[1]), EngineOptions(device="cpu"))
    await engine.start()
    print(engine.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@asynccontextmanager
async def running(checkpoint: Path, **options: Any) -> AsyncIterator[ProcessEngine]:
    engine = build_engine(checkpoint, EngineOptions(device="cpu", **options))
    assert isinstance(engine, ProcessEngine)
    engine.launch()
    assert not engine.is_ready
    await engine.start()
    try:
        yield engine
    finally:
        pid = engine.pid
        await engine.stop(0)
        assert pid is None or not is_alive(pid)


def is_alive(pid: int) -> bool:
    """Whether a process exists and has not ended (a zombie has)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


async def test_a_request_of_very_many_tokens_is_answered_as_by_hand(checkpoint: Path) -> None:
    """It travels in another form than others, and so do its alternatives."""
    text = tuple(7 + k % 50 for k in range(17_000))
    request = EngineRequest(request_id="large", prompts=(text, text[:5]), prompt_logprobs=2)
    async with running(checkpoint) as engine:
        found = await ask(engine, request)
    engine_by_hand, _ = load_engine(checkpoint, EngineOptions(device="cpu"))
    (expected,) = run(engine_by_hand, request)
    assert found.bits() == expected.bits()


async def test_a_process_and_a_thread_give_the_same_bits(checkpoint: Path) -> None:
    """On two intra-operator threads and on one; refusals travel too."""
    thread = build_engine(checkpoint, EngineOptions(device="cpu", mode="thread"))
    assert isinstance(thread, ThreadEngine)
    await thread.start()
    expected = await ask_all(thread)
    await thread.stop(0)
    async with running(checkpoint, threads=2) as engine:
        assert engine.info == thread.info
        found = await ask_all(engine)
        refused = await ask(engine, EngineRequest(request_id="bad", prompts=((10**6,),)))
    assert [result.bits() for result in found] == [result.bits() for result in expected]
    assert refused.error is not None
    assert "token id 1000000" in refused.error


async def test_it_loads_nothing_that_serving_numbers_does_not_need(checkpoint: Path) -> None:
    async with running(checkpoint) as engine:
        maps = Path(f"/proc/{engine.pid}/maps").read_text()
    assert "onnxruntime" in maps
    assert "torch" not in maps
    assert "pydantic" not in maps


async def test_a_killed_engine_is_replaced(checkpoint: Path) -> None:
    """Requests in flight are told; the next ones get the same bits as before."""
    async with running(checkpoint) as engine:
        before = await ask_all(engine)
        first = engine.pid
        assert first is not None
        async with aclosing(engine.submit(endless())) as outputs:
            await anext(outputs)
            os.kill(first, signal.SIGKILL)
            with pytest.raises(EngineUnavailableError):
                async for _ in outputs:
                    pass
        assert not engine.is_ready
        with pytest.raises(EngineUnavailableError):
            await ask(engine, endless())
        await until(lambda: engine.is_ready)
        assert engine.pid not in (None, first)
        after = await ask_all(engine)
    assert [result.bits() for result in after] == [result.bits() for result in before]


async def test_an_engine_is_stopped_in_the_middle_of_its_restart(checkpoint: Path) -> None:
    async with running(checkpoint) as engine:
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: not engine.is_ready)
        await until(lambda: engine.pid is not None and is_alive(engine.pid))


async def test_a_death_while_draining_is_told_at_once(checkpoint: Path) -> None:
    """Nobody has to wait for the grace period to end, and nothing is started again."""
    async with running(checkpoint) as engine:
        stream = asyncio.create_task(ask(engine, endless()))
        await until(lambda: engine.stats().counters.get("generated_tokens", 0) > 0)
        stopping = asyncio.create_task(engine.stop(60))
        await until(lambda: not engine.is_ready)
        os.kill(engine.pid, signal.SIGKILL)  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            with pytest.raises(EngineUnavailableError):
                await stream
            await stopping
        assert engine.pid is None


async def test_a_ctrl_c_in_the_terminal_leaves_the_engine_to_the_server(checkpoint: Path) -> None:
    async with running(checkpoint) as engine:
        for interruption in (signal.SIGINT, signal.SIGTERM):
            os.kill(engine.pid, interruption)  # type: ignore[arg-type]
        outputs = engine.submit(endless())
        await anext(outputs)
        await outputs.aclose()
        await until(lambda: engine.stats().gauges["running"] == 0)


async def test_a_checkpoint_that_cannot_be_read_is_an_error_at_start(tmp_path: Path) -> None:
    engine = build_engine(tmp_path / "none", EngineOptions(device="cpu"))
    with pytest.raises(ValueError, match="no checkpoint at"):
        await engine.start()
    assert not engine.is_ready
    await engine.stop(0)


async def test_an_engine_does_not_outlive_its_server(checkpoint: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(checkpoint)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert is_alive(pid)
        server.kill()
    await until(lambda: not is_alive(pid))


async def test_a_stopped_engine_blocks_nobody_and_is_replaced(checkpoint: Path) -> None:
    """SIGSTOP: a full socket must not hold the event loop, and the heartbeat finds out."""
    async with running(checkpoint) as engine:
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        large = EngineRequest(request_id="large", prompts=((1,) * 2_000_000,), prompt_logprobs=0)
        loop = asyncio.get_running_loop()
        started = loop.time()
        task = asyncio.create_task(ask(engine, large))
        await asyncio.sleep(0)
        assert (
            loop.time() - started < 2
        )  # pickling it, on a busy machine; sending once took for ever
        with pytest.raises(EngineUnavailableError):
            await asyncio.wait_for(task, 20)
        await until(lambda: engine.is_ready)
        assert engine.pid not in (None, first)
        assert engine.num_restarts == 1


async def test_an_engine_that_computes_too_long_counts_as_hung(checkpoint: Path) -> None:
    """The loop of the process does not turn, as if a kernel did not come back."""
    async with running(checkpoint, timeout_s=1.5) as engine:
        first = engine.pid
        assert engine._link is not None
        engine._link.send(_Sleep())
        await until(lambda: engine.pid != first and engine.is_ready)
        assert engine.num_restarts == 1


@pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="a policy of Linux")
async def test_an_engine_that_gets_no_processor_is_not_hung(checkpoint: Path) -> None:
    """By the clock on the wall it would be: a loop on its only core leaves it 3 ms of a second."""
    core = {min(os.sched_getaffinity(0))}
    loop_there = f"import os; os.sched_setaffinity(0, {core})\nwhile True: pass"
    async with running(checkpoint, timeout_s=1.5) as engine:
        pid = engine.pid
        with subprocess.Popen([sys.executable, "-c", loop_there]) as neighbour:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), core)
                os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
            task = asyncio.create_task(ask(engine, endless()))
            await asyncio.sleep(6)
            neighbour.kill()
        assert (engine.pid, engine.num_restarts) == (pid, 0)
        assert not task.done()
        task.cancel()


class _Sleep:
    """Sleeps where it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return time.sleep, (60,)


async def test_an_idle_engine_keeps_giving_signs_of_life(checkpoint: Path) -> None:
    async with running(checkpoint, timeout_s=1.5) as engine:
        pid = engine.pid
        await asyncio.sleep(3)
        assert (engine.pid, engine.is_ready, engine.num_restarts) == (pid, True, 0)


async def test_a_queue_of_unsent_requests_is_bounded(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(checkpoint) as engine:
        os.kill(engine.pid, signal.SIGSTOP)  # type: ignore[arg-type]
        monkeypatch.setattr(process, "_MAX_UNSENT_BYTES", 1000)
        large = EngineRequest(request_id="large", prompts=((1,) * 500_000,), prompt_logprobs=0)
        task = asyncio.create_task(ask(engine, large))
        link = engine._link
        assert link is not None
        await until(lambda: link.num_unsent_bytes > 1000)
        with pytest.raises(QueueFullError):
            await ask(engine, endless())
        with pytest.raises(EngineUnavailableError):
            await asyncio.wait_for(task, 20)


async def test_a_replaced_checkpoint_is_not_served_under_the_old_digest(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    async with running(folder) as engine:
        other = load_checkpoint(folder)
        changed = {name: weight * 0.5 for name, weight in other.weights.items()}
        save_checkpoint(replace(other, weights=changed), folder)
        os.kill(engine.pid, signal.SIGKILL)  # type: ignore[arg-type]
        await until(lambda: isinstance(engine.fault, CheckpointReplacedError))
        assert not engine.is_ready
        assert engine.pid is None


async def test_a_crash_loop_backs_off(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    async with running(folder) as engine:
        (folder / "config.json").rename(folder / "away")
        os.kill(engine.pid, signal.SIGKILL)  # type: ignore[arg-type]
        await until(lambda: isinstance(engine.fault, ValueError))
        await until(lambda: engine.retry_after_s == 0.5)
        with pytest.raises(EngineUnavailableError) as refusal:
            await ask(engine, endless())
        assert refusal.value.retry_after == 0.5
        (folder / "away").rename(folder / "config.json")
        await until(lambda: engine.is_ready)
        assert engine.fault is None
