import pytest
import torch
from torch import nn

from training.averaging import WeightAverage
from training.config import AveragingSection


class Numbers(nn.Module):
    """One parameter that walks through given values."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def walk(self, average: WeightAverage, values: list[float]) -> None:
        for k, value in enumerate(values):
            self.weight.data = torch.tensor([value])
            average.update((k + 1) / len(values))

    def averaged(self, average: WeightAverage) -> float:
        with average.applied():
            return float(self.weight.data)


def average_of(model: nn.Module, **settings: object) -> WeightAverage:
    return WeightAverage(model, AveragingSection.model_validate(settings))


def test_without_an_average_the_weights_stand_for_themselves() -> None:
    model = Numbers()
    average = average_of(model, kind="none")
    model.walk(average, [1.0, 2.0, 3.0])
    assert model.averaged(average) == 3
    assert average.tensors == []


def test_the_last_share_of_a_run_is_averaged_evenly() -> None:
    model = Numbers()
    average = average_of(model, kind="last", last_share=0.4)
    model.walk(average, [float(k) for k in range(1, 6)])
    assert model.averaged(average) == pytest.approx(4.0)  # of 3, 4 and 5: from 60% on
    assert float(model.weight.detach()) == 5, "the weights themselves go on"


def test_the_exponential_average_forgets() -> None:
    model = Numbers()
    average = average_of(model, kind="exponential", decay=0.5)
    model.walk(average, [100.0] + [0.0] * 20)
    # Weights of the start: the first steps decay faster than 0.5, none slower.
    assert 0 < model.averaged(average) <= 100 * 0.5**20
    slow = average_of(model, kind="exponential", decay=0.999)
    model.walk(slow, [float(k) for k in range(1, 200)])
    assert 150 < model.averaged(slow) < 199


def test_nt_asgd_begins_when_validation_has_not_improved_for_a_while() -> None:
    model = Numbers()
    average = average_of(model, kind="nt-asgd", nonmonotone=2)
    losses = [5.0, 4.0, 3.0, 2.0]
    average.observe(losses)
    model.walk(average, [7.0])
    assert not average.tensors, "every validation improved"
    average.observe([*losses, 2.5])
    assert not average.triggered, "still better than the validations before the last two"
    average.observe([*losses, 2.5, 3.5])
    assert average.triggered
    model.walk(average, [1.0, 2.0, 6.0])
    assert model.averaged(average) == pytest.approx(3.0)
    average.observe([*losses, 2.5, 3.5, 0.1])
    assert average.triggered, "once begun it goes on"


def test_training_goes_on_from_the_weights_after_the_average_was_applied() -> None:
    model = nn.Linear(3, 2)
    average = average_of(model, kind="exponential")
    average.update(0.5)
    raw = {k: v.clone() for k, v in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.data += 1
    with pytest.raises(KeyError), average.applied():
        raise KeyError
    for name, value in model.state_dict().items():
        assert torch.equal(value, raw[name] + 1)
