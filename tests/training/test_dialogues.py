"""Dialogue training: roles, the chat template, and what the loss is taken on."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import Checkpoint, load_checkpoint
from tests.training.small_runs import train_arguments
from training.__main__ import main


@pytest.fixture(scope="module")
def dialogues(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The assistant repeats a number it is told; what the user says is drawn at random."""
    rng, folder, files = np.random.default_rng(0), tmp_path_factory.mktemp("dialogues"), {}
    for name, count in (("train", 500), ("valid", 60)):
        lines = []
        for n, noise in enumerate(rng.integers(0, 26, size=(count, 6)) + ord("a")):
            asked = f"say {n % 5} and not {''.join(map(chr, noise))}"
            turns = [("user", asked), ("assistant", f"I say {n % 5}")]
            lines.append({"turns": [{"role": r, "content": c} for r, c in turns]})
        files[name] = folder / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return files


def trained(files: dict[str, Path], out: Path, loss_on: str) -> Checkpoint:
    sets = (
        *("tokenizer.vocab_size=300", "chat.enabled=true", f"chat.loss_on={loss_on}"),
        *("loop.max_tokens=40000", "optimizer.lr=0.02", "loop.batch_size=4"),
    )
    assert main(train_arguments(files, out, sets=sets)) == 0
    return load_checkpoint(out)


@pytest.fixture(scope="module")
def assistant(tmp_path_factory: pytest.TempPathFactory, dialogues: dict[str, Path]) -> Path:
    """A checkpoint whose loss was taken on the assistant's turns."""
    out = tmp_path_factory.mktemp("assistant") / "model"
    trained(dialogues, out, "assistant")
    return out


def test_a_loss_on_the_assistant_leaves_the_users_words_unlearnt(
    dialogues: dict[str, Path], assistant: Path, tmp_path: Path
) -> None:
    everyone = trained(dialogues, tmp_path / "all", "all")
    losses = [
        c.metrics["valid_loss_nats_per_token"] for c in (everyone, load_checkpoint(assistant))
    ]
    assert losses[1] < 0.6 * losses[0], "what is left to predict has little noise"
    counted = np.fromfile(assistant.with_name("model.run") / "train.counted", np.uint8)
    assert 0.1 < counted.mean() < 0.5
    assert not (tmp_path / "all.run" / "train.counted").exists()


def test_the_template_is_stored_and_names_control_pieces(assistant: Path) -> None:
    checkpoint = load_checkpoint(assistant)
    template = checkpoint.chat_template
    assert template is not None
    assert set(template["roles"]) == {"system", "user", "assistant"}
    for piece in (*template["roles"].values(), template["end_of_turn"]):
        assert piece in checkpoint.tokenizer.control_ids


def test_sampling_defaults_go_into_the_checkpoint(
    dialogues: dict[str, Path], tmp_path: Path
) -> None:
    sets = ("tokenizer.vocab_size=300", "loop.max_tokens=2000", "sampling.temperature=0.7")
    assert main(train_arguments(dialogues, tmp_path / "model", sets=sets)) == 0
    assert load_checkpoint(tmp_path / "model").sampling_defaults == {"temperature": 0.7}
