"""A checkpoint of random weights over a small real tokenizer, for what needs no training."""

import functools

import numpy as np

from models.checkpoint import Checkpoint, expected_shapes
from models.config import ModelConfig
from models.tokenizer import Tokenizer

VOCAB = 300


@functools.cache
def small_tokenizer() -> Tokenizer:
    lines = [f"some words {n} and other words of the river" for n in range(30)]
    return Tokenizer.train(lines, vocab_size=VOCAB, model_type="bpe")


def random_checkpoint(config: ModelConfig | None = None, *, spread: float = 1.0) -> Checkpoint:
    config = config or ModelConfig(vocab_size=VOCAB, embedding_size=12, hidden_sizes=(16, 12))
    draw = np.random.default_rng(0)
    weights = {
        name: (spread * draw.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }
    return Checkpoint(model=config, weights=weights, tokenizer=small_tokenizer())
