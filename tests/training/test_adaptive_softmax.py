"""The adaptive softmax, from its loss to the checkpoint: Grave et al. 2017."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.architectures import build_model
from models.checkpoint import expected_shapes, load_checkpoint
from models.config import Architecture, ModelConfig
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from tests.training.small_runs import train_arguments
from training.__main__ import main
from training.config import RegularizationSection
from training.evaluate import evaluate_file, model_of
from training.losses import AdaptiveCrossEntropy
from training.regularization import Objective

VOCAB, CUTOFFS, WIDTH = 60, (10, 30), 32
Train = Callable[..., int]
# Pieces of bytes come first in a vocabulary; the text's own follow.
SETS = (
    *("model.tie_weights=false", "model.adaptive_cutoffs=[262, 280]"),
    *("loop.max_tokens=24000", "optimizer.lr=0.02", "loop.batch_size=4"),
)


def softmax_of(width: int = WIDTH) -> nn.AdaptiveLogSoftmaxWithLoss:
    torch.manual_seed(0)
    return nn.AdaptiveLogSoftmaxWithLoss(width, VOCAB, CUTOFFS)


def shape(architecture: Architecture = "lstm", **changes: Any) -> ModelConfig:
    values: dict[str, Any] = {"vocab_size": VOCAB, "embedding_size": 16, "hidden_sizes": (WIDTH,)}
    values |= {"tie_weights": False, "adaptive_cutoffs": CUTOFFS}
    return ModelConfig(architecture=architecture, **(values | changes))


def both(softmax: nn.AdaptiveLogSoftmaxWithLoss, features: Tensor, targets: Tensor) -> list[Tensor]:
    """Loss and gradients by torch's own definition."""
    wanted = -softmax.log_prob(features).gather(1, targets[:, None]).sum()
    return [wanted, *torch.autograd.grad(wanted, (features, *softmax.parameters()))]


# All clusters, the head alone, one cluster alone.
@pytest.mark.parametrize(("low", "high"), [(0, VOCAB), (0, 10), (30, VOCAB)])
@pytest.mark.parametrize("rows", [1, 40, 700])
def test_loss_and_gradients_are_those_of_torch(rows: int, low: int, high: int) -> None:
    softmax = softmax_of()
    features = torch.randn(rows, WIDTH, requires_grad=True)
    targets = torch.randint(low, high, (rows,))
    loss = AdaptiveCrossEntropy(len(CUTOFFS))(features, softmax, targets)
    got = [loss, *torch.autograd.grad(loss, (features, *softmax.parameters()))]
    for one, other in zip(got, both(softmax, features, targets), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def test_low_precision_stays_close() -> None:
    softmax = softmax_of()
    features = torch.randn(300, WIDTH, requires_grad=True)
    targets = torch.randint(VOCAB, (300,))
    loss = AdaptiveCrossEntropy(len(CUTOFFS), torch.bfloat16)(features, softmax, targets)
    got = [loss, *torch.autograd.grad(loss, (features, *softmax.parameters()))]
    for one, other in zip(got, both(softmax, features, targets), strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).detach().norm()) < 0.03 * float(other.detach().norm())


@pytest.mark.parametrize("architecture", ["lstm", "elman", "window_mlp"])
def test_a_network_with_it_predicts_probabilities_and_knows_its_shapes(
    architecture: Architecture,
) -> None:
    torch.manual_seed(0)
    model = build_model(shape(architecture)).eval()
    ids = torch.randint(VOCAB, (9, 3))
    with torch.no_grad():
        features, _ = model(ids, model.initial_state(3))
        assert torch.allclose(model.logits(features).exp().sum(-1), torch.ones(9, 3), atol=1e-5)
    expected = expected_shapes(model.config)
    assert {name: tuple(t.shape) for name, t in model.state_dict().items()} == expected
    assert ModelConfig.from_dict(model.config.to_dict()) == model.config


def test_the_objective_is_the_networks_own_prediction() -> None:
    torch.manual_seed(0)
    model = build_model(shape())
    ids = torch.randint(VOCAB, (13,)).tolist()
    objective = Objective(model, RegularizationSection(), torch.float32)
    state: Any = model.initial_state(1)
    inputs, targets = torch.tensor(ids[:-1])[:, None], torch.tensor(ids[1:])
    _, nll, _ = objective(inputs, targets, None, 1.0, state)
    assert float(nll) == pytest.approx(-sum(model.score(ids)), rel=1e-5)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, sentences: dict[str, Path]) -> Path:
    out = tmp_path_factory.mktemp("adaptive") / "model"
    assert main(train_arguments(sentences, out, sets=SETS)) == 0
    return out


def test_a_run_with_it_learns_is_saved_and_measured(
    checkpoint: Path, sentences: dict[str, Path], train: Train
) -> None:
    loaded = load_checkpoint(checkpoint)
    assert loaded.model.adaptive_cutoffs == (262, 280)
    assert loaded.weights["output.tail.1.1.weight"].shape == (10, 1)
    assert "| softmax | adaptive, clusters from 262, 280 on |" in loaded.card
    measure = evaluate_file(model_of(loaded), loaded.tokenizer, sentences["test"])
    assert measure.token_perplexity < 290 / 20
    loss = measure.nll / measure.tokens
    assert loss == pytest.approx(loaded.metrics["valid_loss_nats_per_token"], rel=0.1)
    assert train(checkpoint, "--resume", sets=SETS) == 0


def test_a_model_with_it_can_be_adapted_and_only_by_settings_that_fit(
    checkpoint: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("--init-from", str(checkpoint))
    assert train(tmp_path / "adapted", *base, sets=(*SETS, "loop.max_tokens=2000")) == 0
    capsys.readouterr()
    assert train(tmp_path / "other", *base) == 1
    message = capsys.readouterr().err
    assert "--set model.tie_weights=false model.adaptive_cutoffs=[262,280]" in message


def test_the_service_says_why_it_does_not_serve_it(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"adaptive softmax .* the engine does not compute"):
        load_engine(checkpoint, EngineOptions(device="cpu", max_num_seqs=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adaptive_cutoffs": (30, 10)}, "must rise, between 0 and the vocabulary's size .60."),
        ({"adaptive_cutoffs": (0, 10)}, "must rise"),
        ({"adaptive_cutoffs": (10, VOCAB)}, "must rise"),
        ({"tie_weights": True, "hidden_sizes": (16,)}, "needs tie_weights = false"),
        ({"adaptive_cutoffs": (10, 20, 30)}, "3 clusters, too many for the last of hidden_sizes"),
    ],
)
def test_clusters_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shape(**changes)
