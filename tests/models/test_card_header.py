"""The head of a card, as it is written here and by others."""

import pytest

from models.card_header import card_header
from tests.training.small_checkpoints import random_checkpoint


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: mit\nmodel_type: lstm\n---\n# x", {"license": "mit", "model_type": "lstm"}),
        ('---\ntags: ["a", "b c"]\n---\n', {"tags": ["a", "b c"]}),
        ("---\ntags: [a, b]\n---\n", {"tags": ["a", "b"]}),
        ("---\ntags:\n- a\n- 'b'\nlicense: mit\n---\n", {"tags": ["a", "b"], "license": "mit"}),
        ('---\nlicense_name: "base: MIT; text: \\"own\\""\n---\n', None),
        ("# a card without a head\n---\n", {}),
        ("---\nlicense: mit\n", {}),
        ("", {}),
    ],
)
def test_a_head_is_read(card: str, found: dict[str, object] | None) -> None:
    assert card_header(card) == (
        {"license_name": 'base: MIT; text: "own"'} if found is None else found
    )


def test_our_own_cards_can_be_read() -> None:
    from dataclasses import replace

    from training.card import model_card

    origin = {"license": "CC0", "base": None, "train_tokens": 3, "corpus": ["a.txt"]}
    training = {
        "origin": {**origin, "valid": ["b.txt"], "command": "train"},
        "config": {"description": ""},
        "progress": {"seconds": 1, "tokens": 2, "step": 3},
    }
    metrics = {"valid_loss_nats_per_token": 1.0}
    header = card_header(
        model_card("x", replace(random_checkpoint(), training=training, metrics=metrics))
    )
    assert header["license"] == "cc0-1.0"
    assert header["model_type"] == "lstm"
    assert header["tags"] == ["language-model", "lstm", "recurrent"]
