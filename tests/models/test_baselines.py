import math
from collections.abc import Iterator

import pytest
import torch

from models.architectures import build_model
from models.baselines import ElmanLanguageModel, ElmanLayer, WindowMLPLanguageModel
from models.checkpoint import expected_shapes
from models.config import Architecture, ModelConfig
from models.language_model import LanguageModel
from models.lstm import LSTMLanguageModel

VOCAB = 11


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def config(architecture: Architecture, *, tie_weights: bool = True) -> ModelConfig:
    return ModelConfig(
        architecture=architecture,
        vocab_size=VOCAB,
        embedding_size=6,
        hidden_sizes=(8, 6),
        tie_weights=tie_weights,
        residual=True,
        window=3,
    )


@pytest.fixture(params=["lstm", "elman", "window_mlp"])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    model = build_model(config(request.param))
    torch.nn.init.normal_(model.embedding.weight)
    return model.eval()


def test_the_architecture_names_the_class() -> None:
    assert isinstance(build_model(config("lstm")), LSTMLanguageModel)
    assert isinstance(build_model(config("elman")), ElmanLanguageModel)
    assert isinstance(build_model(config("window_mlp")), WindowMLPLanguageModel)


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("architecture", ["lstm", "elman", "window_mlp"])
def test_a_checkpoint_expects_the_parameters_that_the_network_has(
    architecture: Architecture, tie_weights: bool
) -> None:
    shape = config(architecture, tie_weights=tie_weights)
    state = build_model(shape).state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == expected_shapes(shape)


def test_score_follows_the_chain_rule(model: LanguageModel) -> None:
    ids = torch.randint(VOCAB, (9,)).tolist()
    with torch.no_grad():
        features, _ = model(torch.tensor(ids[:-1])[:, None], model.initial_state(1))
        logprobs = torch.log_softmax(model.logits(features[:, 0]), dim=-1)
    chosen = [float(logprobs[t, token]) for t, token in enumerate(ids[1:])]
    assert model.score(ids) == pytest.approx(chosen, rel=1e-10)
    assert torch.allclose(logprobs.exp().sum(dim=-1), torch.ones(8))


def test_a_state_carried_across_a_split_is_no_split(model: LanguageModel) -> None:
    ids = torch.randint(VOCAB, (8, 2))
    with torch.no_grad():
        whole, _ = model(ids, model.initial_state(2))
        for cut in range(1, 8):
            left, state = model(ids[:cut], model.initial_state(2))
            right, _ = model(ids[cut:], state)
            assert torch.allclose(torch.cat([left, right]), whole, rtol=1e-12, atol=1e-14)


def test_the_window_network_sees_its_window_and_nothing_before() -> None:
    model = build_model(config("window_mlp"))
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


def test_generate_is_greedy_by_default(model: LanguageModel) -> None:
    ids = [1, 2, *model.generate([1, 2], 4)]
    for t in range(2, 6):
        candidates = [sum(model.score([*ids[:t], token])) for token in range(VOCAB)]
        assert max(range(VOCAB), key=candidates.__getitem__) == ids[t]
