from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.checkpoint import load_checkpoint
from training.card import model_card

Train = Callable[..., int]


def test_a_card_says_shape_data_licence_command_time_and_what_was_measured(
    train: Train, sentences: dict[str, Path], tmp_path: Path
) -> None:
    train(tmp_path / "model", "--license", "CC BY-SA 4.0")
    checkpoint = load_checkpoint(tmp_path / "model")
    card = checkpoint.card
    parameters = sum(int(np.prod(w.shape)) for w in checkpoint.weights.values())
    assert card.startswith("# model\n")
    assert f"| parameters | {parameters:,} |" in card
    assert "| layers | 16 |" in card
    assert f"- {'/'.join(sentences['train'].parts[-2:])}" in card
    assert "Licence of the data: CC BY-SA 4.0." in card
    assert "python -m training train --corpus" in card
    assert f"{checkpoint.metrics['valid_loss_nats_per_token']:.4f} nats a token" in card
    progress = checkpoint.training["progress"]
    assert f"{progress['tokens']:,} tokens in {progress['step']:,} steps" in card
    assert str(tmp_path) not in card, "a card names no folder of the machine"
    assert card == model_card("model", checkpoint)


def test_the_curves_lie_beside_the_card(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "model")
    png = (tmp_path / "model" / "curves.png").read_bytes()
    assert png == (tmp_path / "model.run" / "curves.png").read_bytes()
    assert png.startswith(b"\x89PNG")
