from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.activation_scales import INT8_LOSS_METRIC
from models.checkpoint import load_checkpoint, save_checkpoint
from tests.training.small_checkpoints import random_checkpoint
from training.__main__ import main
from training.card import with_measured

Train = Callable[..., int]


def test_a_card_says_shape_data_licence_command_time_and_what_was_measured(
    train: Train, sentences: dict[str, Path], tmp_path: Path
) -> None:
    train(tmp_path / "model", "--license", "CC BY-SA 4.0")
    checkpoint = load_checkpoint(tmp_path / "model")
    card = checkpoint.card
    parameters = sum(int(np.prod(w.shape)) for w in checkpoint.weights.values())
    assert card.startswith("---\nlibrary_name: lstm-serve\nmodel_type: lstm\n")
    assert "license: cc-by-sa-4.0\n" in card
    assert "\n# model\n" in card
    assert f"| parameters | {parameters:,} |" in card
    assert "| layers | 16 |" in card
    assert f"- {'/'.join(sentences['train'].parts[-2:])}" in card
    assert "Licence of the data: CC BY-SA 4.0." in card
    assert "lstm-train train --corpus" in card
    assert f"{checkpoint.metrics['valid_loss_nats_per_token']:.4f} nats a token" in card
    progress = checkpoint.training["progress"]
    assert f"{progress['tokens']:,} tokens in {progress['step']:,} steps" in card
    assert str(tmp_path) not in card, "a card names no folder of the machine"
    assert "Kneser-Ney 5-gram" in card
    assert (tmp_path / "model" / "report.html").exists()
    assert set(checkpoint.metrics["validation"]) >= {"this model", "unigram", "xz -9e"}


def test_the_curves_lie_beside_the_card(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "model")
    png = (tmp_path / "model" / "curves.png").read_bytes()
    assert png == (tmp_path / "model.run" / "curves.png").read_bytes()
    assert png.startswith(b"\x89PNG")


def test_a_persons_words_stay_when_figures_are_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    card = "# By hand\n\nWhat I know of it.\n"
    save_checkpoint(replace(random_checkpoint(), card=card), folder)
    (tmp_path / "t.txt").write_text("some words of the river\n" * 20)
    command = ["evaluate", "--model", str(folder), "--text", str(tmp_path / "t.txt"), "--record"]
    for _ in range(2):  # the second time takes the place of the first
        assert main(command) == 0
        recorded = load_checkpoint(folder).card
        assert recorded.startswith(card.rstrip())
        assert recorded.count("bits a byte") == 1
    # The first evaluation also measured what decides how the model is served.
    assert isinstance(load_checkpoint(folder).metrics[INT8_LOSS_METRIC], float)


def test_a_measured_section_is_replaced_where_it_stands() -> None:
    card = with_measured("# A\n", "first", "x") + "\nAfter it.\n"
    again = with_measured(card, "second", "x")
    assert "first" not in again
    assert again.endswith("\nAfter it.\n")
    assert again.count("second") == 1
    assert with_measured(again, "other", "y").count("<!-- measured:") == 2
