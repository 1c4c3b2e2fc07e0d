"""The short form of the soak; the long one: `make soak`."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.live_server import live_server
from tests.reliability.soak import SETTINGS, soak
from tests.reliability.target import Target


async def test_answers_stay_and_nothing_is_lost(folder: Path) -> None:
    with live_server(sys.executable, folder, SETTINGS) as address:
        figures = await soak(Target(address=address), seconds=4)
    print(f"\n{figures}")
    assert figures.unlike == figures.lost == 0
    assert set(figures.statuses) == {200, 400}
    assert figures.refused == 4 * len(figures.memory_mb)
    assert figures.memory_mb[-1][1] < 1.5 * figures.memory_mb[0][1]
