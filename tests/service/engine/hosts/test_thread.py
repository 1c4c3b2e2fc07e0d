"""An engine in a thread: the same bits as one that is driven by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineOptions, EngineUnavailableError
from service.engine.hosts.build import build_engine
from service.engine.hosts.loading import load_engine
from service.engine.hosts.thread import ThreadEngine
from service.engine.request import RequestOutput
from tests.service.engine.asking import REQUESTS, ask, ask_all, endless, until
from tests.service.engine.driving import run


@asynccontextmanager
async def running(checkpoint: Path, **options: Any) -> AsyncIterator[ThreadEngine]:
    engine = build_engine(checkpoint, EngineOptions(mode="thread", device="cpu", **options))
    assert isinstance(engine, ThreadEngine)
    assert not engine.is_ready
    await engine.start()
    yield engine
    await engine.stop(0)
    assert not engine.is_ready


async def test_the_bits_are_those_of_an_engine_driven_by_hand(checkpoint: Path) -> None:
    options = EngineOptions(device="cpu")
    async with running(checkpoint) as engine:
        by_thread = await ask_all(engine)
    by_hand = run(load_engine(checkpoint, options)[0], *REQUESTS)
    assert [result.bits() for result in by_thread] == [result.bits() for result in by_hand]


async def test_it_tells_what_it_serves(checkpoint: Path) -> None:
    async with running(checkpoint, precision="int8") as engine:
        assert engine.is_ready
        _, info = load_engine(checkpoint, EngineOptions(device="cpu", precision="int8"))
        assert engine.info == info
        assert info.precision == "int8"


async def test_closing_a_stream_frees_its_rows(checkpoint: Path) -> None:
    async with running(checkpoint) as engine:
        async with aclosing(engine.submit(endless())) as outputs:
            async for output in outputs:
                assert len(output.tokens) == 1
                break
        await until(lambda: engine.stats().gauges["running"] == 0)
        result = await ask(engine, REQUESTS[1])
        assert result.finished


async def test_a_stopped_sample_ends_its_request(checkpoint: Path) -> None:
    async with running(checkpoint) as engine:
        outputs = []
        async for output in engine.submit(endless()):
            outputs.append(output)
            engine.stop_sample("endless", 0, 0)
        assert outputs[-1].finished
        assert outputs[-1].error is None


async def test_stopping_gives_up_what_does_not_end_in_time(checkpoint: Path) -> None:
    async with running(checkpoint) as engine:
        outputs = engine.submit(endless())
        await anext(outputs)
        await engine.stop(0.05)
        with pytest.raises(EngineUnavailableError):
            async for _ in outputs:
                pass


async def test_a_checkpoint_that_cannot_be_read_is_an_error_at_start(tmp_path: Path) -> None:
    engine = build_engine(tmp_path / "none", EngineOptions(mode="thread", device="cpu"))
    with pytest.raises(ValueError, match="no checkpoint at"):
        await engine.start()
    await engine.stop(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_requests_in_flight_are_told_when_the_engine_fails(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = Engine.step, []

    def failing(self: Engine) -> list[RequestOutput]:
        calls.append(1)
        if len(calls) > 3:
            raise MemoryError("too much")
        return step(self)

    monkeypatch.setattr(Engine, "step", failing)
    async with running(checkpoint) as engine:
        with pytest.raises(EngineUnavailableError, match="the engine failed"):
            await ask(engine, endless())
        assert not engine.is_ready
        with pytest.raises(EngineUnavailableError):
            await ask(engine, endless("next"))
