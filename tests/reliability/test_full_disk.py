"""No room for a single byte, of the log or beside the models: what is served goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.checkpoint import load_checkpoint, save_checkpoint
from service.__main__ import main
from tests.live_server import live_server
from tests.reliability.target import Target, metric, save_small_model, stream
from tests.training.small_checkpoints import random_checkpoint


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_of_models_is_served_and_nothing_is_left_half_written(
    small_disk: Path, tmp_path: Path
) -> None:
    """Serving writes nothing there; what is pulled comes whole or not at all."""
    served = save_small_model(small_disk / "small")
    save_checkpoint(random_checkpoint(), tmp_path / "other")
    filler = small_disk / "filler"
    filled = subprocess.run(
        ["dd", "if=/dev/zero", f"of={filler}"], check=False, capture_output=True, text=True
    )
    assert "No space left" in filled.stderr
    pull = ["pull", str(tmp_path / "other"), "--models", str(small_disk)]
    with live_server(sys.executable, served, {"LSTM_SERVE_LOG_LEVEL": "error"}) as address:
        target = Target(address=address)
        async with target.client() as client:
            first = (await target.score(client, "the cat sat")).json()["data"]
            refused = CliRunner().invoke(main, pull)
            assert refused.exit_code == 1
            assert "No space left on device" in refused.output
            assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "small"]
            assert (await client.post("/v1/models/small/reload")).status_code == 200
            assert (await target.score(client, "the cat sat")).json()["data"] == first
            filler.unlink()
            assert CliRunner().invoke(main, pull).exit_code == 0
            answer = await client.post("/v1/score", json={"model": "other", "texts": ["the cat"]})
            assert answer.status_code == 200
    assert load_checkpoint(small_disk / "other").digest
