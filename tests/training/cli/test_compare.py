"""The command's verdict, in words and as JSON."""

import json
from pathlib import Path

import pytest

from models.checkpoint import save_checkpoint
from tests.training.small_checkpoints import random_checkpoint
from training.__main__ import main


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    for name, spread in (("wild", 3.0), ("tame", 0.1)):
        save_checkpoint(random_checkpoint(spread=spread), tmp_path / name)
    return tmp_path / "wild", tmp_path / "tame"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "t.txt"
    path.write_text("".join(f"some words {n} of the river\n" for n in range(40)))
    return path


def test_the_better_one_is_named_whichever_comes_first(
    models: tuple[Path, Path], text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pair in (models, models[::-1]):
        command = ["compare", *map(str, pair), "--restart-lines", "--text", str(text)]
        assert main(command) == 0
        assert f"{models[1]} is better, and not by chance" in capsys.readouterr().out


def test_a_model_beside_itself_may_be_chance(
    models: tuple[Path, Path], text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(models[0]), str(models[0]), "--restart-lines", "--text", str(text)]
    assert main(command) == 0
    assert "the difference may be chance" in capsys.readouterr().out


def test_as_json(models: tuple[Path, Path], text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", *map(str, models), "--restart-lines", "--json", "--text", str(text)]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["first"] > found["second"]
    assert found["documents"] == 40
