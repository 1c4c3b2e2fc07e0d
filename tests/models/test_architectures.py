import pytest

from models.architectures import build_model
from models.baselines import ElmanLanguageModel, WindowMLPLanguageModel
from models.checkpoint import expected_shapes
from models.config import Architecture
from models.lstm import LSTMLanguageModel
from tests.models.small_networks import small_config


def test_the_architecture_names_the_class() -> None:
    assert isinstance(build_model(small_config("lstm")), LSTMLanguageModel)
    assert isinstance(build_model(small_config("elman")), ElmanLanguageModel)
    assert isinstance(build_model(small_config("window_mlp")), WindowMLPLanguageModel)


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("architecture", ["lstm", "elman", "window_mlp"])
def test_a_checkpoint_expects_the_parameters_that_the_network_has(
    architecture: Architecture, tie_weights: bool
) -> None:
    shape = small_config(architecture, tie_weights=tie_weights)
    state = build_model(shape).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == expected_shapes(shape)
