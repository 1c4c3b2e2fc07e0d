"""Nothing is lost: a killed run that goes on ends with the very weights of an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from tests.training.small_runs import train_arguments

ROOT = Path(__file__).resolve().parents[2]
SETS = (
    "loop.max_tokens=60000",
    "loop.save_seconds=0.02",  # so that many of the kills fall into a save
    "loop.eval_tokens=3000",
    "optimizer.average=0.99",
)


def start(sentences: dict[str, Path], out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "training"]
    command += train_arguments(sentences, out, *options, sets=SETS)
    with log_of(out).open("ab") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log
        )


def log_of(out: Path) -> Path:
    return out.with_suffix(".log")


def kill_and_resume(sentences: dict[str, Path], tmp_path: Path, kills: int, seed: int) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"
    process = start(sentences, undisturbed)
    wait_for_a_save(process, undisturbed)
    began = time.monotonic()
    assert process.wait(timeout=100) == 0
    duration = time.monotonic() - began

    draw = random.Random(seed)
    process = start(sentences, out)
    for _ in range(kills):
        wait_for_a_save(process, out)
        # Short lives: all of them together must not reach the end of the run.
        time.sleep(draw.random() * duration / kills)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "the run ended before it was killed"
        if out.exists():
            load_checkpoint(out)  # raises unless it is whole
        process = start(sentences, out, "--resume")
    assert process.wait(timeout=100) == 0, log_of(out).read_text()
    assert "nothing to resume" not in log_of(out).read_text()
    weights = "model.safetensors"
    assert (out / weights).read_bytes() == (undisturbed / weights).read_bytes()


def wait_for_a_save(process: subprocess.Popen[bytes], out: Path) -> None:
    """By this process, not by one before it."""
    state = out.with_name(f"{out.name}.run") / "state"
    before = state.stat().st_ino if state.exists() else None
    while not state.exists() or state.stat().st_ino == before:
        assert process.poll() is None, log_of(out).read_text()
        time.sleep(0.002)


def test_three_kills_leave_no_trace(sentences: dict[str, Path], tmp_path: Path) -> None:
    kill_and_resume(sentences, tmp_path, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills_leave_no_trace(sentences: dict[str, Path], tmp_path: Path) -> None:
    kill_and_resume(sentences, tmp_path, kills=20, seed=1)
