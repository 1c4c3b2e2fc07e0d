from typing import Any

import pytest

from models.config import ModelConfig

SMALL: dict[str, Any] = {"vocab_size": 10, "embedding_size": 4, "hidden_sizes": (4, 4)}


def test_a_config_survives_its_dictionary_form() -> None:
    config = ModelConfig(**SMALL, architecture="window_mlp", residual=True, window=3)
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_an_unknown_setting_is_refused_since_it_would_change_the_meaning() -> None:
    values = ModelConfig(**SMALL).to_dict() | {"peephole": True}
    with pytest.raises(ValueError, match="unknown model settings: peephole"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "gru"}, "architecture 'gru' is unknown"),
        ({"vocab_size": 0}, "vocab_size must be at least 1, not 0"),
        ({"window": 0}, "window must be at least 1, not 0"),
        ({"hidden_sizes": ()}, "hidden_sizes must be positive"),
        ({"hidden_sizes": (4, 0)}, "hidden_sizes must be positive"),
        ({"hidden_sizes": (4, 5)}, r"last of hidden_sizes \(5\).*embedding_size \(4\)"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**SMALL | change)


def test_a_layers_input_is_the_layer_below_and_a_skip_needs_equal_widths() -> None:
    config = ModelConfig(vocab_size=9, embedding_size=4, hidden_sizes=(6, 6, 4), residual=True)
    assert config.input_sizes == (4, 6, 6)
    assert [config.has_skip(k) for k in range(3)] == [False, True, False]
    assert not ModelConfig(vocab_size=9, embedding_size=4, hidden_sizes=(4,)).has_skip(0)


def test_the_window_network_reads_all_embeddings_of_its_window_at_once() -> None:
    config = ModelConfig(**SMALL, architecture="window_mlp", window=5)
    assert config.input_sizes == (20, 4)
