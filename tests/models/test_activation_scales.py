import numpy as np
import pytest

from models.activation_scales import activation_scale, calibrate
from models.checkpoint import expected_shapes
from models.config import ModelConfig
from models.weights import Weights


def random_weights(config: ModelConfig) -> Weights:
    draw = np.random.default_rng(0)
    return {
        name: (draw.standard_normal(shape) / 4).astype(np.float32)
        for name, shape in expected_shapes(config).items()
    }


@pytest.mark.parametrize("largest", [1e-9, 0.01, 0.1, 0.5, 0.79, 0.8, 3.7, 1000.0])
def test_int8_steps_leave_room_for_more_than_was_seen(largest: float) -> None:
    bound = activation_scale(largest) * 127
    assert bound >= largest * 1.25 * (1 - 1e-9)
    assert bound < 4 * max(largest, 2**-16)
    assert activation_scale(largest * (1 - 1e-12)) == activation_scale(largest)


@pytest.mark.parametrize("residual", [False, True])
def test_there_is_a_step_for_every_matrix_that_meets_integers(residual: bool) -> None:
    config = ModelConfig(
        vocab_size=40, embedding_size=8, hidden_sizes=(8, 12, 8), residual=residual
    )
    scales = calibrate(config, random_weights(config))
    assert (len(scales.hidden), len(scales.inputs)) == (3, 4)
    assert max(scales.hidden) <= 1 / 127  # no |h| passes 1
    sums = scales.inputs[1:]
    assert (max(sums) > 1 / 127) if residual else (sums == scales.hidden)
