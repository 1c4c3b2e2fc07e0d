"""The command's figures, in words and as JSON."""

import json
from pathlib import Path

import pytest

from models.checkpoint import save_checkpoint
from tests.training.small_checkpoints import random_checkpoint
from training.__main__ import main
from training.evaluate import evaluate_file, model_of


def test_the_command_prints_json_by_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = random_checkpoint()
    digest = save_checkpoint(checkpoint, tmp_path / "model")
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path, text in zip(paths, ("some words\n", "x\n"), strict=True):
        path.write_text(text)
    command = ["evaluate", "--model", str(tmp_path / "model"), "--text", *map(str, paths)]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["model"] == digest
    measure = evaluate_file(model_of(checkpoint), checkpoint.tokenizer, paths[0])
    assert printed["results"][str(paths[0])] == measure.to_dict()
    assert set(printed["results"]) == set(map(str, paths))
    assert main(command) == 0
    assert f"{measure.bits_per_byte:.4f} bits per byte" in capsys.readouterr().out


def test_the_command_explains_what_it_cannot_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(tmp_path / "none"), "--text", "a.txt"]) == 1
    assert "no checkpoint at" in capsys.readouterr().err
