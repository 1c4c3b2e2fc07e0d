"""What draining waits for, and what waits for the start."""

from __future__ import annotations

import asyncio

import pytest

from service.lifecycle import Lifecycle


async def test_draining_waits_for_what_is_in_flight() -> None:
    lifecycle = Lifecycle()
    with lifecycle.request(), lifecycle.request():
        assert lifecycle.in_flight == 2
        draining = asyncio.create_task(lifecycle.drain(10))
        await asyncio.sleep(0)
        assert lifecycle.is_draining
        assert not draining.done()
    assert await draining
    assert lifecycle.in_flight == 0


async def test_a_request_that_fails_has_ended_too() -> None:
    lifecycle = Lifecycle()
    with pytest.raises(ValueError, match="no"), lifecycle.request():
        raise ValueError("no")
    assert await lifecycle.drain(0)


async def test_grace_has_an_end() -> None:
    lifecycle = Lifecycle()
    with lifecycle.request():
        assert not await lifecycle.drain(0.01)


async def test_waiting_for_the_start() -> None:
    lifecycle = Lifecycle()
    waiting = asyncio.create_task(lifecycle.wait_started())
    await asyncio.sleep(0)
    assert not waiting.done()
    lifecycle.set_started()
    await waiting


async def test_a_start_that_failed_is_told_to_all_who_wait() -> None:
    lifecycle = Lifecycle()
    waiting = asyncio.create_task(lifecycle.wait_started())
    lifecycle.set_started(ValueError("no such model"))
    for task in (waiting, asyncio.create_task(lifecycle.wait_started())):
        with pytest.raises(ValueError, match="no such model"):
            await task
