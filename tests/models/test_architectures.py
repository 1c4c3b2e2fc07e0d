from typing import get_args

import pytest

from models.architectures import build_model
from models.baselines import ElmanLanguageModel, WindowMLPLanguageModel
from models.checkpoint import expected_shapes, num_parameters
from models.config import Architecture, ModelConfig
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


@pytest.mark.parametrize(
    "config",
    [
        *(small_config(name) for name in get_args(Architecture)),
        *(small_config(name, tie_weights=False) for name in get_args(Architecture)),
        ModelConfig(
            vocab_size=60,
            embedding_size=6,
            hidden_sizes=(20,),
            tie_weights=False,
            adaptive_cutoffs=(10, 30),
        ),
    ],
)
def test_parameters_are_counted_as_torch_counts_them(config: ModelConfig) -> None:
    assert num_parameters(config) == sum(p.numel() for p in build_model(config).parameters())
