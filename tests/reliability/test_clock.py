"""The wall clock moved under a running server: only what is about the date may notice."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.live_server import live_server
from tests.reliability.target import Target, stream

_DAY_S = 86_400
_KEY = "the-key-of-the-clock-test"
_PER_MINUTE = 40
# What the server's processes import before anything else. (libfaketime would move the clock of all
# code, but lets sleeping fail: clock_nanosleep with an absolute time.)
_CLOCK = """
import os, time

def moved(original, unit):
    def read():
        with open(os.environ["CLOCK_OFFSET_FILE"]) as file:
            return original() + unit * int(file.read())
    return read

time.time, time.time_ns = moved(time.time, 1), moved(time.time_ns, 10**9)
"""


@pytest.fixture(scope="module")
def moved(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Target, Callable[[int], None]]]:
    """A server whose wall clock can be moved by seconds; its monotonic clock is the system's."""
    place = tmp_path_factory.mktemp("clock")
    (place / "sitecustomize.py").write_text(_CLOCK, "utf-8")
    offset = place / "offset"

    def move(seconds: int) -> None:
        fresh = offset.with_suffix(".new")
        fresh.write_text(str(seconds), "ascii")
        fresh.replace(offset)

    move(0)
    settings = {
        "PYTHONPATH": str(place),
        "CLOCK_OFFSET_FILE": str(offset),
        "LSTM_SERVE_LOG_LEVEL": "error",
        "LSTM_SERVE_STATE_MAX_AGE_S": "3600",
        "LSTM_SERVE_API_KEYS": _KEY,
        "LSTM_SERVE_REQUESTS_PER_MINUTE_PER_KEY": str(_PER_MINUTE),
    }
    with live_server(sys.executable, folder, settings) as address:
        yield Target(address=address, key=_KEY), move


async def test_what_lasts_is_not_measured_by_the_wall_clock(
    moved: tuple[Target, Callable[[int], None]],
) -> None:
    """A day forward, then back by two: streams, heartbeats, quotas and liveness go on."""
    target, move = moved
    body = {"texts": ["the cat"], "eos": False, "return_state": True}
    with target.watching_liveness() as liveness:
        async with target.client() as client:
            (before,) = (await client.post("/v1/score", json=body)).json()["data"]
            going_on = asyncio.create_task(stream(client, 5_000))
            await asyncio.sleep(0.3)
            move(_DAY_S)
            await asyncio.sleep(0.3)
            late = await resumed(client, before["state"])
            move(-_DAY_S)
            await asyncio.sleep(0.3)
            early = await resumed(client, before["state"])
            move(0)
            lines = await going_on
            (after,) = (await client.post("/v1/score", json=body)).json()["data"]
            assert lines[-1] == "[DONE]"
            assert '"finish_reason":"length"' in lines[-2]
            assert late.status_code == 400
            assert "older than 3600 s" in late.text
            assert early.status_code == 200
            assert after["logprob"] == before["logprob"]
            refused_after = await asked_until_refused(client, move)
    assert max(liveness) < 5
    print(
        f"\nclock: a day forward and two back under a stream of 5000 tokens, which ended well; "
        f"{refused_after} further requests before the quota of {_PER_MINUTE} a minute; liveness "
        f"at most {1000 * max(liveness):.0f} ms"
    )


async def resumed(client: httpx.AsyncClient, state: str) -> httpx.Response:
    return await client.post("/v1/score", json={"state": state, "texts": [" sat"]})


async def asked_until_refused(client: httpx.AsyncClient, move: Callable[[int], None]) -> int:
    """A bucket that went by the wall clock would be full again after each jump."""
    began = time.monotonic()
    for number in range(3 * _PER_MINUTE):
        move(_DAY_S * (number % 2))
        response = await client.post("/v1/score", json={"texts": ["a"]})
        if response.status_code == 429:
            assert int(response.headers["retry-after"]) <= 60
            return number
        assert response.status_code == 200
    pytest.fail(f"no refusal in {time.monotonic() - began:.0f} s")
