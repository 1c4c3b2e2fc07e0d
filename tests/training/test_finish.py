"""What int8 costs, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest

from models.activation_scales import LARGEST_INT8_LOSS
from models.config import ModelConfig
from tests.training.small_checkpoints import VOCAB, random_checkpoint
from training.finish import describe_int8, int8_loss
from training.shards import Shard


@pytest.mark.parametrize(
    ("loss", "served"),
    [(0.0, "int8"), (-0.0005, "int8"), (0.9 * LARGEST_INT8_LOSS, "int8"), (0.05, "float32")],
)
def test_what_auto_will_serve_is_told(loss: float, served: str) -> None:
    assert describe_int8(loss) == (
        f"int8 costs {loss:+.3%} of the loss: precision=auto serves {served}"
    )


def test_the_loss_is_small_and_measured_where_there_is_an_int8_form(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(VOCAB, size=600).astype(np.uint16)
    (tmp_path / "v").write_bytes(ids.tobytes())
    shard = Shard(tmp_path / "v", None, VOCAB)
    loss = int8_loss(random_checkpoint(), shard)
    assert loss is not None
    assert abs(loss) < 0.02
    config = ModelConfig(
        architecture="elman", vocab_size=VOCAB, embedding_size=12, hidden_sizes=(12,)
    )
    assert int8_loss(random_checkpoint(config), shard) is None
