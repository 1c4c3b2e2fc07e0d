"""Plain ONNX graphs, run by ONNX Runtime alone."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.config import ModelConfig
from tests.training.small_checkpoints import VOCAB, random_checkpoint
from training.evaluate import model_of
from training.export import SEQUENCE, export

SHAPES = {
    "tied": ModelConfig(vocab_size=VOCAB, embedding_size=12, hidden_sizes=(16, 12)),
    "skips": ModelConfig(vocab_size=VOCAB, embedding_size=8, hidden_sizes=(8, 8), residual=True),
    "free": ModelConfig(vocab_size=VOCAB, embedding_size=6, hidden_sizes=(9,), tie_weights=False),
}


@pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
def test_the_graph_says_what_the_plain_score_says(config: ModelConfig, tmp_path: Path) -> None:
    checkpoint = random_checkpoint(config)
    assert export(checkpoint, tmp_path) < 1e-4
    ids = [checkpoint.tokenizer.bos_id, *checkpoint.tokenizer.encode("some words of the river")]
    feed = {
        f"{part}{k}": np.zeros((1, 1, hidden), np.float32)
        for k, hidden in enumerate(config.hidden_sizes)
        for part in "hc"
    }
    session = onnxruntime.InferenceSession(tmp_path / SEQUENCE)
    (logprobs,) = session.run(["logprobs"], {"ids": np.array(ids[:-1])[:, None], **feed})
    found = [float(logprobs[t, 0, following]) for t, following in enumerate(ids[1:])]
    assert found == pytest.approx(model_of(checkpoint).score(ids), abs=1e-4)
    assert (tmp_path / "tokenizer.model").read_bytes() == checkpoint.tokenizer.model_bytes


def test_other_networks_are_refused(tmp_path: Path) -> None:
    config = ModelConfig(
        architecture="elman", vocab_size=VOCAB, embedding_size=8, hidden_sizes=(8,)
    )
    with pytest.raises(ValueError, match="LSTM networks"):
        export(random_checkpoint(config), tmp_path / "none")
