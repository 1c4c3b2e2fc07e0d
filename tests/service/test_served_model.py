"""What is read of a checkpoint before its weights, and how its faults are told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from models.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from models.tokenizer import Tokenizer
from service.served_model import read_facts
from tests.service.plain_engine import PlainLSTM


@pytest.fixture
def folder(tmp_path: Path, tokenizer: Tokenizer, lstm: PlainLSTM) -> Path:
    folder = tmp_path / "a"
    checkpoint = Checkpoint(
        model=lstm.config,
        weights=dict(lstm.weights),
        tokenizer=tokenizer,
        sampling_defaults={"top_p": 0.9},
        metrics={"bits_per_byte": 1.5},
    )
    save_checkpoint(checkpoint, folder)
    return folder


def test_the_facts(folder: Path, lstm: PlainLSTM) -> None:
    stored = read_facts(folder)
    assert (stored.name, stored.config) == ("a", lstm.config)
    assert (stored.chat_template, stored.sampling_defaults) == (None, {"top_p": 0.9})
    assert stored.metrics == {"bits_per_byte": 1.5}


def test_a_null_is_no_default(folder: Path) -> None:
    change(folder, sampling_defaults={"top_p": None})
    assert read_facts(folder).sampling_defaults == {}


def test_a_fault_names_the_folder_and_the_field(folder: Path) -> None:
    change(folder, sampling_defaults={"top_p": "most"})
    with pytest.raises(CheckpointError, match=rf"{folder}.*sampling_defaults\.top_p"):
        read_facts(folder)


def test_metrics_are_an_object(folder: Path) -> None:
    (folder / "metrics.json").write_text("[1.5]")
    with pytest.raises(CheckpointError, match=r"metrics\.json must hold a JSON object"):
        read_facts(folder)


@pytest.mark.parametrize("name", ["README.md", "metrics.json", "tokenizer.model"])
def test_a_pipe_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(CheckpointError):
        read_facts(folder)


@pytest.mark.parametrize(
    "parts",
    [
        {"files": None},
        {"files": []},
        {"model": None},
        {"model": []},
        {"digest": None},
        {"format_version": "1"},
        {"sampling_defaults": 5},
        {"chat_template": [1]},
    ],
)
def test_any_nonsense_is_an_error_of_the_checkpoint(folder: Path, parts: dict[str, Any]) -> None:
    change(folder, **parts)
    with pytest.raises(CheckpointError):
        read_facts(folder)


def test_deep_nesting_is_an_error_of_the_checkpoint(folder: Path) -> None:
    for name in ("metrics.json", "config.json"):
        (folder / name).write_text("[" * 100_000)
        with pytest.raises(CheckpointError):
            read_facts(folder)


def change(folder: Path, **parts: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
