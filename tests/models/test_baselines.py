import math

import pytest
import torch

from models.architectures import build_model
from models.baselines import ElmanLayer
from models.config import Architecture, ModelConfig
from tests.models.small_networks import VOCAB, small_config

pytestmark = pytest.mark.usefixtures("double_precision")


def test_the_window_network_sees_its_window_and_nothing_before() -> None:
    model = build_model(small_config("window_mlp"))
    ids = torch.randint(VOCAB, (7, 1))
    with torch.no_grad():
        before, _ = model(ids, model.initial_state(1))
        for changed in range(7):
            other = ids.clone()
            other[changed] = (other[changed] + 1) % VOCAB
            after, _ = model(other, model.initial_state(1))
            moved = (after != before).any(dim=2)[:, 0].nonzero()[:, 0].tolist()
            assert moved == list(range(changed, min(changed + 3, 7)))


def test_gradient_of_a_scalar_recurrence_is_the_closed_form_sum_over_time() -> None:
    """d h_T / d w = sum_t (prod_{k > t} w (1 - h_k^2)) (1 - h_t^2) h_{t-1}; Pascanu et al. 2013."""
    layer, steps = ElmanLayer(1, 1), 15
    torch.nn.init.constant_(layer.weight_hh, 0.9)
    x = torch.randn(steps, 1, 1)
    outputs, _ = layer(x, torch.zeros(1, 1))
    (gradient,) = torch.autograd.grad(outputs[-1].sum(), layer.weight_hh)
    h = [0.0, *outputs.detach().flatten().tolist()]
    total = sum(
        math.prod(0.9 * (1 - h[k] ** 2) for k in range(t + 1, steps + 1))
        * (1 - h[t] ** 2)
        * h[t - 1]
        for t in range(1, steps + 1)
    )
    assert float(gradient) == pytest.approx(total, rel=1e-10)
    assert total != 0


def test_the_elman_recurrence_starts_orthogonal() -> None:
    weight = ElmanLayer(4, 32).weight_hh.detach()
    assert torch.allclose(weight @ weight.T, torch.eye(32), atol=1e-10)


def test_shared_weights_save_fifty_times_the_parameters_of_a_window_of_100() -> None:
    """First hidden layer of 100 over embeddings of 100: 1,000,100 against 20,100."""

    def parameters(architecture: Architecture) -> int:
        config = ModelConfig(
            architecture=architecture,
            vocab_size=10,
            embedding_size=100,
            hidden_sizes=(100,),
            window=100,
        )
        return sum(p.numel() for p in build_model(config).layers.parameters())

    assert (parameters("window_mlp"), parameters("elman")) == (1_000_100, 20_100)
