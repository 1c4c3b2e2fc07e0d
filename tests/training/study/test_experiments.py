"""The experiments on a small scale: that each measures what its name says."""

import pytest
import torch

from models.config import ModelConfig
from training.study import experiments
from training.study.experiments import TimeSkipLayer, TruncatedLSTM
from training.study.material import Material


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material.prepare(tmp_path_factory.mktemp("study"), None, vocab_size=500)


def test_the_first_layers_have_the_textbooks_numbers_of_parameters() -> None:
    assert experiments.first_layer_parameters() == {"window MLP": 1_000_100, "RNN": 20_100}


def test_a_skip_through_time_adds_to_the_last_state() -> None:
    layer = TimeSkipLayer(3, 4)
    x, h = torch.randn(2, 1, 3), torch.randn(1, 4)
    with torch.no_grad():
        outputs, end = layer(x, h)
        for t in range(2):
            inner = x[t] @ layer.weight_ih.T + h @ layer.weight_hh.T + layer.bias
            h = h + 0.1 * torch.tanh(inner)
            assert torch.allclose(outputs[t], h, atol=1e-6)
    assert torch.equal(end, outputs[-1])
    config = ModelConfig(architecture="elman", vocab_size=9, embedding_size=4, hidden_sizes=(4,))
    assert isinstance(experiments.time_skip_model(config).layers[0], TimeSkipLayer)


def test_clipping_saves_a_run_that_explodes(material: Material) -> None:
    free = experiments.exploding_run(material, 1e30, steps=40)
    clipped = experiments.exploding_run(material, 0.5, steps=40)
    assert max(free.norms) > 100 * max(clipped.norms) > 0
    assert min(free.losses[-5:]) > free.losses[0]
    assert len(clipped.losses) == 40
    assert max(clipped.losses[-5:]) < min(free.losses[-5:])


def test_all_networks_of_a_comparison_learn_from_as_many_tokens(material: Material) -> None:
    results = experiments.compare(material, tokens=20000)
    assert set(results) == {"window MLP (8 tokens)", "Elman RNN", "LSTM"}
    for name, result in results.items():
        assert 1 < result.perplexity < 500, name
        assert result.parameters == sum(p.numel() for p in result.model.parameters())


def test_the_full_gradient_agrees_with_itself_and_the_shortest_least(material: Material) -> None:
    agreement = experiments.gradient_agreement(
        material, material.model("elman"), lengths=(1, 8, 64), steps=64
    )
    assert agreement[64] == pytest.approx(1, abs=1e-5)
    assert agreement[1] < agreement[8] < agreement[64]


def test_cutting_the_gradient_changes_the_gradient_and_nothing_else(material: Material) -> None:
    shape, ids = material.shape("lstm"), torch.randint(100, (12, 2))
    losses, gradients = [], []
    for steps in (3, 12):
        torch.manual_seed(0)
        model = TruncatedLSTM(shape, steps)
        features, state = model(ids, model.initial_state(2))
        losses.append(features.square().sum() + state.h[0].sum())
        gradients.append(torch.autograd.grad(losses[-1], model.layers[0].weight_hh)[0])  # type: ignore[arg-type]
    assert float(losses[0].detach()) == pytest.approx(float(losses[1].detach()), rel=1e-5)
    assert not torch.allclose(gradients[0], gradients[1], rtol=0.01)


def test_networks_of_all_lengths_are_trained_on_as_many_tokens(material: Material) -> None:
    results = experiments.truncations(material, (8, 64), tokens=2048)
    assert set(results) == {8, 64}
    assert all(1 < r.perplexity < 1000 for r in results.values())
