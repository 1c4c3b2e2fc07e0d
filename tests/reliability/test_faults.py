"""What clients see while processes are killed and stopped, and while they themselves misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest

from tests.reliability.target import Target, running_rows, stream


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_an_engine_that_dies_or_hangs_is_replaced(
    target: Target, fault: signal.Signals
) -> None:
    """Each stream in flight has a proper end, liveness never fails, answers are as before."""
    await target.ready()
    with target.watching_liveness() as liveness:
        async with target.client() as client:
            before = (await target.score(client, "the cat sat")).json()["data"]
            streams = [asyncio.create_task(stream(client, 60_000)) for _ in range(8)]
            await asyncio.sleep(1)
            pid = target.engine_pid()
            started = time.perf_counter()
            os.kill(pid, fault)
            ends = await asyncio.gather(*streams)
            told_s = time.perf_counter() - started
            await target.ready()
            back_s = time.perf_counter() - started
            after = (await target.score(client, "the cat sat")).json()["data"]
    assert target.engine_pid() != pid
    assert [end[-1] for end in ends] == ["[DONE]"] * 8
    assert [end[-2] for end in ends if '"unavailable"' not in end[-2]] == []
    assert after == before
    assert max(liveness) < 5  # on a busy machine
    print(
        f"\n{fault.name}: 8 of 8 streams ended properly within {told_s:.2f} s, ready again after "
        f"{back_s:.2f} s; liveness at most {1000 * max(liveness):.0f} ms"
    )


async def test_dropped_clients_free_their_rows(target: Target) -> None:
    await target.ready()
    async with target.client() as client:
        for _ in range(3):
            tasks = [asyncio.create_task(stream(client, 60_000)) for _ in range(30)]
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(20):
            while await running_rows(client):
                await asyncio.sleep(0.1)
    print("\ndisconnect storm: 90 streams dropped, all rows free")


async def test_more_than_it_can_do_is_refused_and_the_rest_is_served(target: Target) -> None:
    """Bounded: 200 requests at once, each of about 600 tokens, against a queue of 64."""
    await target.ready()
    text = "the cat sat on the mat and the dog sat by the door " * 40
    with target.watching_liveness() as liveness:
        async with target.client() as client:
            responses = await asyncio.gather(
                *(target.score(client, f"{k} {text}") for k in range(200)), return_exceptions=True
            )
    answers = [response for response in responses if isinstance(response, httpx.Response)]
    statuses: dict[int, int] = {}
    for answer in answers:
        statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
    assert len(answers) == 200
    assert set(statuses) <= {200, 429}
    assert statuses[200] >= 64
    assert max(liveness) < 5
    print(f"\noverload: {statuses}; liveness at most {1000 * max(liveness):.0f} ms")
