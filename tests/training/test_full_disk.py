"""A disk that is full or read-only: a clear error, and the last good checkpoint stays."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from tests.training.small_runs import train_arguments
from training.__main__ import main
from training.learner import Learner

ROOT = Path(__file__).resolve().parents[2]
SETS = ("loop.save_seconds=0.01", "loop.eval_tokens=2000")
# The command, in a process that from a given step on can write no file beyond a few kilobytes.
FULL = """
import resource, sys
from training.__main__ import main
from training.learner import Learner

train_step = Learner.step

def limited(self):
    if self.state.progress.step == int(sys.argv[1]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return train_step(self)

Learner.step = limited
sys.exit(main(sys.argv[2:]))
"""


def test_a_full_disk_keeps_the_last_save_and_the_run_goes_on_when_there_is_room(
    train: Callable[..., int], sentences: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "model"
    command = [sys.executable, "-c", FULL, "60", *train_arguments(sentences, out, sets=SETS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    error = result.stderr.splitlines()[-1]
    assert "error: [Errno 27] File too large" in error
    assert "the last save is whole: make room, then repeat the command with --resume" in error
    before = load_checkpoint(out).training["progress"]["step"]
    assert 0 < before <= 60
    assert train(out, "--resume", sets=SETS) == 0
    assert load_checkpoint(out).training["progress"]["step"] > 60


def test_a_folder_that_becomes_read_only_keeps_the_last_save(
    train: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, step = tmp_path / "model", Learner.step

    def refuse(path: Path, *_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    def until_then(self: Learner) -> object:
        if self.state.progress.step == 60:
            monkeypatch.setattr(Path, "write_bytes", refuse)
        return step(self)

    monkeypatch.setattr(Learner, "step", until_then)
    assert train(out, sets=SETS) == 1
    assert f"Read-only file system: '{tmp_path}" in capsys.readouterr().err
    monkeypatch.undo()
    before = load_checkpoint(out).training["progress"]["step"]
    assert 0 < before <= 60
    assert train(out, "--resume", sets=SETS) == 0
    assert load_checkpoint(out).training["progress"]["step"] > 60


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs Linux's /sys")
def test_a_file_system_that_nobody_can_write_is_named(
    sentences: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_arguments(sentences, Path("/sys/kernel/model"))) == 1
    assert "'/sys/kernel/model.run'" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(train_arguments(sentences, tmp_path / "file" / "model")) == 1
    assert f"{tmp_path}/file/model.run" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_named(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert main(train_arguments(sentences, tmp_path / "model")) == 1
    assert "Permission denied" in capsys.readouterr().err
