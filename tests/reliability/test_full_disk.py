"""No room for a single byte of the log, as on a full disk: what is served goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live_server import live_server
from tests.reliability.target import Target, metric, stream


@pytest.fixture
def cramped(folder: Path) -> Iterator[Target]:
    """A server whose log lines all meet ENOSPC: one for each request, and one for each fault."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is Linux's")
    with full.open("w") as log, live_server(sys.executable, folder, log=log) as address:
        yield Target(address=address)


async def test_a_full_disk_takes_nothing_down(cramped: Target) -> None:
    async with cramped.client() as client:
        first = (await cramped.score(client, "the cat sat")).json()["data"]
        for number in range(30):
            await cramped.score(client, f"the cat sat {number}")
        assert (await stream(client, 200))[-1] == "[DONE]"
        assert (await client.post("/v1/score", content=b"{")).status_code == 400
        assert await metric(client, "vllm:num_requests_running") == 0
        os.kill(cramped.engine_pid(), signal.SIGKILL)  # which is logged, too
        await cramped.ready()
        assert (await cramped.score(client, "the cat sat")).json()["data"] == first
    assert set(cramped.statuses) == {200}
    print(f"\nfull disk: {cramped.statuses[200]} answers, a stream, a restart; none lost")
