"""Nothing is lost: a killed run that goes on ends with the very weights of an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from tests.training.small_runs import train_arguments

ROOT = Path(__file__).resolve().parents[2]
STEPS = 160  # of 8 x 16 tokens
SETS = (
    f"loop.max_tokens={STEPS * 128}",
    "loop.save_seconds=0.03",  # so that many of the kills fall into a save
    "loop.eval_tokens=2500",
    "averaging.kind=exponential",
    "regularization.layer_dropout=0.2",
    "regularization.weight_drop=0.2",
    "loop.variable_bptt=true",
)
# The command, in a process that ends itself without warning some time after a given step.
KILLED = """
import os, signal, sys, threading
from training.__main__ import main
from training.learner import Learner

step, delay = int(sys.argv[1]), float(sys.argv[2])
train_step = Learner.step

armed = []

def counted(self):
    # The last save may lie beyond that step already.
    if self.state.progress.step >= step >= 0 and not armed:
        armed.append(True)
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return train_step(self)

Learner.step = counted
sys.exit(main(sys.argv[3:]))
"""


def run(files: dict[str, Path], out: Path, *options: str, kill: tuple[int, float]) -> int:
    arguments = train_arguments(files, out, *options, sets=SETS)
    command = [sys.executable, "-c", KILLED, *map(str, kill), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with out.with_suffix(".log").open("ab") as log:
        result = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False
        )
    return result.returncode


def kill_and_resume(sentences: dict[str, Path], tmp_path: Path, kills: int, seed: int) -> None:
    never = (-1, 0.0)
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "killed"
    assert run(sentences, undisturbed, kill=never) == 0, undisturbed.with_suffix(".log").read_text()
    draw, span = random.Random(seed), STEPS // (kills + 1)
    for k in range(kills):
        moment = (k * span + draw.randrange(1, span), draw.random() * 0.03)
        status = run(sentences, out, *(["--resume"] if k else []), kill=moment)
        assert status == -signal.SIGKILL, out.with_suffix(".log").read_text()
        if out.exists():
            load_checkpoint(out)  # raises unless it is whole
    assert run(sentences, out, "--resume", kill=never) == 0, out.with_suffix(".log").read_text()
    for name in ("model.safetensors", "tokenizer.model"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()


@pytest.mark.timeout(400)  # five processes after one another, on a machine that may be busy
def test_three_kills_leave_no_trace(sentences: dict[str, Path], tmp_path: Path) -> None:
    kill_and_resume(sentences, tmp_path, kills=3, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_leave_no_trace(sentences: dict[str, Path], tmp_path: Path) -> None:
    kill_and_resume(sentences, tmp_path, kills=20, seed=1)
