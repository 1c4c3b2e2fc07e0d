"""The command writes a wider checkpoint that answers as before."""

from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint, save_checkpoint
from tests.training.small_checkpoints import random_checkpoint
from training.__main__ import main
from training.evaluate import model_of


def test_a_wider_checkpoint_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(random_checkpoint(), tmp_path / "m")
    command = ["widen", "--model", str(tmp_path / "m"), "--hidden-sizes", "20", "12"]
    assert main([*command, "--out", str(tmp_path / "w")]) == 0
    assert f"checkpoint: {tmp_path / 'w'}" in capsys.readouterr().out
    wider = load_checkpoint(tmp_path / "w")
    assert wider.model.hidden_sizes == (20, 12)
    ids = [1, 5, 9, 2]
    before = model_of(load_checkpoint(tmp_path / "m")).score(ids)
    assert model_of(wider).score(ids) == pytest.approx(before, abs=1e-5)
