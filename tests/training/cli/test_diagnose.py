"""The command's figure and picture, of a checkpoint and of a fresh model."""

from pathlib import Path

import pytest

from models.checkpoint import save_checkpoint
from tests.training.small_checkpoints import random_checkpoint
from training.__main__ import main


def test_a_checkpoint_and_a_fresh_model_are_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, png, words = tmp_path / "model", tmp_path / "reach.png", tmp_path / "t.txt"
    save_checkpoint(random_checkpoint(), model)
    words.write_text("some words of the river\n" * 200)
    text = ["--text", str(words), "--rows", "4"]
    command = ["diagnose", "--model", str(model), *text, "--steps", "40", "--out", str(png)]
    assert main(command) == 0
    assert "model: the gradient is above 1% of its first norm up to" in capsys.readouterr().out
    assert png.read_bytes().startswith(b"\x89PNG")
    fresh = ["diagnose", "--preset", "tiny", "--rows", "2", "--steps", "20"]
    assert main([*fresh, "--out", str(tmp_path / "fresh.png")]) == 0
    assert "at 19 steps" in capsys.readouterr().out
    assert main(["diagnose", "--preset", "tiny", *text, "--out", str(png)]) == 1
    assert "--text needs --model" in capsys.readouterr().err
