"""Parts of a state vector tile it, in the order that the layout promises."""

import numpy as np
import pytest

from models.config import ModelConfig
from service.engine.runners.base import StateLayout
from tests.service.engine.small_models import SHAPES

shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())


@shapes
def test_parts_tile_the_vector(config: ModelConfig) -> None:
    layout = StateLayout.of(config)
    names = [f"{kind}{k}" for k in range(config.num_layers) for kind in "hc"]
    names += ["features"] if layout.features_apart else []
    vector, parts = np.arange(layout.size), layout.slices()
    assert np.concatenate([vector[parts[name]] for name in names]).tolist() == vector.tolist()
    for k, size in enumerate(config.hidden_sizes):
        assert len(vector[parts[f"h{k}"]]) == len(vector[parts[f"c{k}"]]) == size
    assert len(vector[parts["features"]]) == layout.features_size


@shapes
def test_features_are_the_last_h_unless_a_skip_goes_around_it(config: ModelConfig) -> None:
    layout, last = StateLayout.of(config), config.num_layers - 1
    assert layout.features_apart == config.has_skip(last)
    assert (layout.slices()["features"] == layout.slices()[f"h{last}"]) != layout.features_apart
