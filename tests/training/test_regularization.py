"""Every technique: what it does, that gradients reach the raw weights, that evaluation is free
of it, and that its setting is not silently off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.architectures import build_model
from models.checkpoint import load_checkpoint
from models.config import Architecture, ModelConfig
from models.language_model import LanguageModel
from tests.training.small_runs import train_arguments
from training.__main__ import main
from training.config import RegularizationSection
from training.regularization import Dropout, Objective, locked_dropout

VOCAB, STEPS, ROWS = 50, 12, 3
ALL = {
    "input_dropout": 0.4,
    "layer_dropout": 0.4,
    "output_dropout": 0.4,
    "embedding_dropout": 0.4,
    "weight_drop": 0.4,
    "activation_alpha": 2.0,
    "temporal_beta": 1.0,
}


def network(architecture: Architecture = "lstm") -> LanguageModel:
    torch.manual_seed(0)
    config = ModelConfig(
        architecture=architecture, vocab_size=VOCAB, embedding_size=16, hidden_sizes=(16, 16)
    )
    return build_model(config)


def settings(**values: float) -> RegularizationSection:
    return RegularizationSection.model_validate(values)


def objective(model: LanguageModel, **values: float) -> Objective:
    return Objective(model, settings(**values), torch.float32)


def loss_of(objective: Objective, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Loss and cross-entropy of one fixed window."""
    ids = torch.arange(STEPS * ROWS).reshape(STEPS, ROWS) % VOCAB
    targets = (ids + 1).flatten() % VOCAB
    torch.manual_seed(seed)
    state: Any = objective.model.initial_state(ROWS)
    loss, nll, _ = objective(ids, targets, None, 1 / len(targets), state)
    return loss, nll


def distinct(x: Tensor) -> list[float]:
    return sorted(set(x.flatten().tolist()))


@pytest.mark.parametrize("name", ALL)
def test_training_meets_it_and_evaluation_does_not(name: str) -> None:
    model = network()
    plain, _ = loss_of(objective(model))
    disturbed = objective(model, **{name: ALL[name]})
    assert float(loss_of(disturbed)[0].detach()) != float(plain.detach())
    disturbed.eval()
    losses = {float(loss_of(disturbed, seed)[0].detach()) for seed in range(3)}
    assert losses == {float(plain.detach())}


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_every_raw_parameter_and_none_is_changed(name: str) -> None:
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loss_of(objective(model, **{name: ALL[name]}))[0].backward()  # type: ignore[no-untyped-call]
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any(), key
        assert torch.equal(parameter.data, before[key]), key


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name] < 1])
def test_masks_are_drawn_anew_for_every_window_and_from_the_seed(name: str) -> None:
    disturbed = objective(network(), **{name: ALL[name]})
    one, other = (float(loss_of(disturbed, seed)[0].detach()) for seed in (1, 2))
    assert one != other
    assert float(loss_of(disturbed, 1)[0].detach()) == one


@pytest.mark.parametrize("architecture", ["elman", "window_mlp"])
def test_the_baselines_can_be_regularised_too(architecture: Architecture) -> None:
    model = network(architecture)
    plain, _ = loss_of(objective(model))
    for name in set(ALL) - ({"weight_drop"} if architecture == "window_mlp" else set()):
        loss, _ = loss_of(objective(model, **{name: ALL[name]}))
        assert float(loss.detach()) != float(plain.detach()), name


def test_locked_dropout_keeps_its_mask_for_all_steps_of_a_row() -> None:
    torch.manual_seed(0)
    x = locked_dropout(torch.ones(STEPS, 40, 50), 0.3)
    assert (x == x[0]).all()
    assert not (x[0] == x[0, :1]).all(), "rows have masks of their own"
    assert distinct(x) == pytest.approx([0, 1 / 0.7])
    assert float(x.mean()) == pytest.approx(1, abs=0.05)


def test_embedding_dropout_takes_a_token_from_the_whole_window() -> None:
    torch.manual_seed(0)
    ids = torch.randint(VOCAB, (STEPS, 40))
    x = Dropout(settings(embedding_dropout=0.3), VOCAB).embedding(torch.ones(STEPS, 40, 4), ids)
    values = [distinct(x[ids == token]) for token in range(VOCAB)]
    assert all(len(value) == 1 for value in values)
    assert 0.1 < values.count([0.0]) / VOCAB < 0.5
    assert distinct(x) == pytest.approx([0, 1 / 0.7])


def test_weight_drop_takes_single_recurrent_weights_for_the_whole_window() -> None:
    torch.manual_seed(0)
    weight = Dropout(settings(weight_drop=0.5), VOCAB).recurrent(torch.ones(400, 100))
    assert distinct(weight) == [0.0, 2.0]
    assert float(weight.mean()) == pytest.approx(1, abs=0.02)


def test_a_dropped_recurrent_weight_has_no_gradient_and_a_kept_one_has() -> None:
    model = network()
    disturbed = objective(model, weight_drop=0.5)
    masks: list[Tensor] = []
    recurrent = Dropout.recurrent

    def remember(self: Dropout, weight: Tensor) -> Tensor:
        masks.append(recurrent(self, weight))
        return masks[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dropout, "recurrent", remember)
        loss_of(disturbed)[0].backward()  # type: ignore[no-untyped-call]
    for mask, layer in zip(masks, model.layers, strict=True):
        gradient = layer.weight_hh.grad
        assert isinstance(gradient, Tensor)
        assert not gradient[mask == 0].any()
        assert (gradient[mask != 0] != 0).float().mean() > 0.99


def test_the_penalties_are_what_the_paper_says() -> None:
    """alpha * mean(h^2) and beta * mean((h_t - h_{t-1})^2) of the last layer."""
    model = network()
    ids = torch.arange(STEPS * ROWS).reshape(STEPS, ROWS) % VOCAB
    with torch.no_grad():
        features, _ = model(ids, model.initial_state(ROWS))
    for name, expected in (
        ("activation_alpha", features.square().mean()),
        ("temporal_beta", (features[1:] - features[:-1]).square().mean()),
    ):
        loss, nll = loss_of(objective(model, **{name: 3e4}))
        assert float((loss.detach() - nll) / 3e4) == pytest.approx(float(expected), rel=1e-4)


def test_the_objective_is_the_mean_over_what_counts() -> None:
    objective_ = objective(network())
    ids = torch.randint(VOCAB, (STEPS, ROWS))
    targets = torch.randint(VOCAB, (STEPS * ROWS,))
    state: Any = objective_.model.initial_state(ROWS)
    features, _ = objective_.model(ids, state)
    logprobs = objective_.model.logits(features).log_softmax(-1).flatten(0, 1)
    each = -logprobs[torch.arange(STEPS * ROWS), targets]
    rows = torch.tensor([0, 5, 17, 30])
    for chosen, wanted in ((None, each), (rows, each[rows])):
        some = targets if chosen is None else targets[chosen]
        loss, nll, _ = objective_(ids, some, chosen, 1 / len(some), state)
        assert torch.allclose(loss, wanted.mean(), rtol=1e-5)
        assert torch.allclose(nll, wanted.mean(), rtol=1e-5)


SWITCHES = [
    *(f"regularization.{name}={value}" for name, value in ALL.items()),
    "model.residual=true",
    "model.tie_weights=false",
    "loop.variable_bptt=true",
    "loop.state_reset=0.5",
    "loop.precision=bfloat16",
    "averaging.kind=exponential",
    "averaging.kind=last",
    "optimizer.name=sgd",
    "optimizer.schedule=constant",
    "optimizer.warmup_tokens=0",
    "optimizer.min_lr_ratio=0.9",
    "optimizer.betas=[0.5, 0.9]",
    "optimizer.weight_decay=0.1",
    "optimizer.clip=0.01",
]


@pytest.fixture(scope="module")
def plain_weights(
    tmp_path_factory: pytest.TempPathFactory, sentences: dict[str, Path]
) -> dict[str, np.ndarray[Any, Any]]:
    return trained(tmp_path_factory.mktemp("plain"), sentences)


def trained(
    folder: Path, sentences: dict[str, Path], *sets: str
) -> dict[str, np.ndarray[Any, Any]]:
    shape = ("model.hidden_sizes=[16, 16]", "loop.max_tokens=2000", "loop.eval_tokens=1000")
    assert main(train_arguments(sentences, folder / "model", sets=(*shape, *sets))) == 0
    return load_checkpoint(folder / "model").weights


@pytest.mark.parametrize("switch", SWITCHES)
def test_no_setting_is_silently_off(
    switch: str,
    plain_weights: dict[str, np.ndarray[Any, Any]],
    sentences: dict[str, Path],
    tmp_path: Path,
) -> None:
    weights = trained(tmp_path, sentences, switch)
    assert any(not np.array_equal(weights[name], tensor) for name, tensor in plain_weights.items())
