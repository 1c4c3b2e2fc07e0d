"""The service's int8 arithmetic, simulated, against the service's own engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.driving import scored_prompts
from models.checkpoint import Checkpoint, expected_shapes, load_checkpoint, save_checkpoint
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from service.engine.runners.onnx_session import integer_products_are_exact
from training.int8 import Int8Model, int8_relative_loss

VOCAB = 300
SHAPES = {
    "two layers": ModelConfig(vocab_size=VOCAB, embedding_size=64, hidden_sizes=(96, 64)),
    "skips": ModelConfig(
        vocab_size=VOCAB, embedding_size=48, hidden_sizes=(48, 48, 48), residual=True
    ),
    "free softmax": ModelConfig(
        vocab_size=VOCAB, embedding_size=32, hidden_sizes=(80,), tie_weights=False
    ),
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = [f"some words {n} and other words of the river" for n in range(30)]
    return Tokenizer.train(lines, vocab_size=VOCAB, model_type="bpe")


def random_checkpoint(config: ModelConfig, tokenizer: Tokenizer) -> Checkpoint:
    draw = np.random.default_rng(0)
    weights = {
        name: (draw.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }
    return Checkpoint(model=config, weights=weights, tokenizer=tokenizer)


@pytest.mark.skipif(
    not integer_products_are_exact(), reason="the service has no exact int8 on this processor"
)
@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("storage", ["float32", "int8"])
def test_losses_are_those_of_the_engine(
    config: ModelConfig, storage: str, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    checkpoint = replace(random_checkpoint(config, tokenizer), storage=storage)  # type: ignore[arg-type]
    save_checkpoint(checkpoint, tmp_path / "m")
    ids = np.random.default_rng(1).integers(VOCAB, size=(33, 6))
    options = EngineOptions(precision="int8", device="cpu", cache_bytes=0)
    (scored,) = scored_prompts(load_engine(tmp_path / "m", options)[0], [ids.T.tolist()])
    engine = -np.stack([logprobs[1:] for logprobs in scored], axis=1)
    simulated = Int8Model(load_checkpoint(tmp_path / "m")).losses(torch.from_numpy(ids)).numpy()
    difference = np.abs(simulated - engine)
    # A number that lies between two integers may be rounded to either: rare, and small.
    assert np.median(difference) < 2e-5
    assert difference.mean() < 1e-3
    assert simulated.sum() == pytest.approx(engine.sum(), rel=1e-4)


def test_the_loss_is_relative_to_that_of_the_weights_as_they_are(tokenizer: Tokenizer) -> None:
    config = SHAPES["two layers"]
    checkpoint = random_checkpoint(config, tokenizer)
    ids = torch.from_numpy(np.random.default_rng(2).integers(VOCAB, size=(65, 8)))
    loss = int8_relative_loss(checkpoint, ids)
    assert 0 < abs(loss) < 0.01
    rows = {k: v.copy() for k, v in checkpoint.weights.items()}
    rows["layers.0.weight_hh"][0, 0] = 100.0  # one entry that takes all of its row's steps
    assert abs(int8_relative_loss(replace(checkpoint, weights=rows), ids)) > abs(loss)


def test_a_network_without_int8_form_is_told(tokenizer: Tokenizer) -> None:
    config = ModelConfig(
        architecture="elman", vocab_size=VOCAB, embedding_size=8, hidden_sizes=(8,)
    )
    with pytest.raises(ValueError, match="LSTM networks with an ordinary softmax"):
        Int8Model(random_checkpoint(config, tokenizer))
