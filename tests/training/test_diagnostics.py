import pytest
import torch

from models.architectures import build_model
from models.config import Architecture, ModelConfig
from training.diagnostics import gradient_reach, memory_span


def model(architecture: Architecture, **more: object) -> ModelConfig:
    values = {"vocab_size": 20, "embedding_size": 8, "hidden_sizes": (8,)} | more
    return ModelConfig(architecture=architecture, **values)  # type: ignore[arg-type]


def test_reach_of_a_scalar_rnn_is_the_product_of_its_slopes() -> None:
    """d h_T / d h_{T-k} = prod w (1 - h^2) over the last k steps (Pascanu et al. 2013)."""
    torch.manual_seed(0)
    network = build_model(model("elman", embedding_size=1, hidden_sizes=(1,)))
    ids = torch.randint(20, (12, 1))
    with torch.no_grad():
        features, _ = network(ids[:-1], network.initial_state(1))
    weight = float(network.layers[0].weight_hh.detach())  # type: ignore[operator]
    slopes = [weight * (1 - h * h) for h in features.flatten().tolist()]
    reach = gradient_reach(network, ids)
    assert len(reach) == 10
    for k in range(1, 10):
        assert reach[k] / reach[k - 1] == pytest.approx(abs(slopes[-1 - k]), rel=1e-4)


def test_a_window_reaches_as_far_as_its_width_and_not_a_step_further() -> None:
    torch.manual_seed(0)
    network = build_model(model("window_mlp", window=5))
    reach = gradient_reach(network, torch.randint(20, (15, 3)))
    assert [norm > 0 for norm in reach] == [True] * 4 + [False] * 9
    assert memory_span(reach, share=1e-12) == 4


@pytest.mark.parametrize("architecture", ["elman", "lstm"])
def test_gradients_of_the_model_are_left_alone(architecture: Architecture) -> None:
    network = build_model(model(architecture, hidden_sizes=(8, 8)))
    reach = gradient_reach(network, torch.randint(20, (10, 4)))
    assert all(norm > 0 for norm in reach)
    assert all(p.grad is None for p in network.parameters())
