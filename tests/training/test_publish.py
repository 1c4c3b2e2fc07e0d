from pathlib import Path

import numpy as np
import torch

from models.architectures import build_model
from models.chat_template import STANDARD_TEMPLATE
from models.checkpoint import load_checkpoint
from models.config import ModelConfig
from tests.training.small_checkpoints import VOCAB, small_tokenizer
from training.config import TrainConfig, with_overrides
from training.publish import Origin, Publisher
from training.run_state import Progress

ORIGIN = Origin(
    corpus=("a.txt",),
    valid=("b.txt",),
    train_tokens=1000,
    license="MIT",
    command="lstm-train train",
)
SHAPE = ModelConfig(vocab_size=VOCAB, embedding_size=8, hidden_sizes=(8,))


def published(out: Path, config: TrainConfig) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model(SHAPE)
    progress = Progress(step=3, tokens=99, losses=[4.5, 4.25])
    Publisher(config, small_tokenizer(), ORIGIN, out).save(model, progress)
    return model


def test_what_is_published_is_the_model_and_where_it_comes_from(tmp_path: Path) -> None:
    config = with_overrides({}, ["model.storage=float32", "sampling.temperature=0.7"])
    model = published(tmp_path / "m", config)
    checkpoint = load_checkpoint(tmp_path / "m")
    for name, tensor in model.state_dict().items():
        assert np.array_equal(checkpoint.weights[name], tensor.numpy())
    assert checkpoint.model == SHAPE
    assert checkpoint.sampling_defaults == {"temperature": 0.7}
    assert checkpoint.training["origin"] == {
        **ORIGIN.to_dict(),
        "corpus": ["a.txt"],
        "valid": ["b.txt"],
    }
    assert checkpoint.metrics["valid_loss_nats_per_token"] == 4.25
    assert "license: mit\n" in checkpoint.card


def test_a_template_is_declared_only_where_chat_is_enabled(tmp_path: Path) -> None:
    for enabled, expected in (("true", dict(STANDARD_TEMPLATE)), ("false", None), ("auto", None)):
        published(tmp_path / enabled, with_overrides({}, [f"chat.enabled={enabled}"]))
        assert load_checkpoint(tmp_path / enabled).chat_template == expected


def test_curves_are_laid_beside_a_checkpoint_that_is_there(tmp_path: Path) -> None:
    png = tmp_path / "curves.png"
    png.write_bytes(b"picture")
    publisher = Publisher(TrainConfig(), small_tokenizer(), ORIGIN, tmp_path / "m")
    publisher.add_curves(png)
    assert not (tmp_path / "m").exists()
    published(tmp_path / "m", TrainConfig())
    publisher.add_curves(png)
    assert (tmp_path / "m" / "curves.png").read_bytes() == b"picture"
