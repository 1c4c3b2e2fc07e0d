"""A widened network says what the narrow one said, and its new units can learn."""

import dataclasses

import pytest
import torch

from models.architectures import build_model
from models.checkpoint import Checkpoint
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from training.evaluate import model_of
from training.widen import widen

IDS = torch.tensor([[1, 4], [5, 9], [2, 2], [7, 3], [0, 8]])  # (T, B)


def checkpoint(**shape: object) -> Checkpoint:
    config = ModelConfig(vocab_size=11, embedding_size=6, hidden_sizes=(5, 7, 6))
    config = dataclasses.replace(config, **shape)  # type: ignore[arg-type]
    torch.manual_seed(3)
    weights = {k: v.numpy() for k, v in build_model(config).state_dict().items()}
    lines = [f"a river and a house {n % 3}" for n in range(30)]
    tokenizer = Tokenizer.train(lines, vocab_size=290, model_type="bpe")
    return Checkpoint(model=config, weights=weights, tokenizer=tokenizer, storage="int8")


def features_of(of: Checkpoint) -> torch.Tensor:
    model = model_of(of)
    features: torch.Tensor = model(IDS, model.initial_state(2))[0].detach()
    return features


@pytest.mark.parametrize("sizes", [(5, 7, 6), (8, 7, 6), (5, 20, 6), (9, 9, 6)])
def test_every_feature_stays_the_same(sizes: tuple[int, ...]) -> None:
    narrow = checkpoint()
    wide = widen(narrow, sizes)
    assert wide.model.hidden_sizes == sizes
    assert wide.storage == "float32"
    torch.testing.assert_close(features_of(wide), features_of(narrow), rtol=0, atol=1e-6)


def test_new_units_are_alive_and_heard_after_a_step() -> None:
    """The weights that hear them get a gradient at once, their own after one step."""
    model = model_of(widen(checkpoint(), (8, 7, 6))).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    grads = []
    for _ in range(2):
        features, _ = model(IDS, model.initial_state(2))
        optimizer.zero_grad()
        features.pow(2).sum().backward()
        own = model.get_parameter("layers.0.weight_ih").grad
        hears = model.get_parameter("layers.1.weight_ih").grad
        assert own is not None
        assert hears is not None
        grads.append((own[5:8].abs().sum().item(), hears[:, 5:].abs().sum().item()))
        optimizer.step()
    assert grads[0][1] > 0
    assert grads[0][0] == 0
    assert grads[1][0] > 0


@pytest.mark.parametrize(
    ("shape", "sizes", "message"),
    [
        ({}, (4, 7, 6), "none smaller"),
        ({}, (5, 7), "as many as "),
        ({}, (5, 7, 9), "the last layer feeds the softmax and must stay 6 wide, not 9"),
        ({"residual": True, "hidden_sizes": (6, 6)}, (8, 6), "only an LSTM without skip"),
        ({"architecture": "elman"}, (8, 7, 6), "only an LSTM"),
    ],
)
def test_what_cannot_be_widened_is_said(
    shape: dict[str, object], sizes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        widen(checkpoint(**shape), sizes)
