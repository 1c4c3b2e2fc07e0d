import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses import LinearCrossEntropy


def inputs(rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    features = torch.randn(rows, 6, dtype=dtype, requires_grad=True)
    weight = torch.randn(9, 6, dtype=dtype, requires_grad=True)
    return features, weight, torch.randint(9, (rows,))


@pytest.mark.parametrize("rows", [1, 7, 512, 1100])  # below, at and above a chunk of rows
def test_loss_and_gradients_are_those_of_torch(rows: int) -> None:
    features, weight, targets = inputs(rows)
    expected = F.cross_entropy(F.linear(features, weight), targets, reduction="sum")
    want = torch.autograd.grad(3 * expected, (features, weight))
    loss = LinearCrossEntropy()(features, weight, targets)
    got = torch.autograd.grad(3 * loss, (features, weight))
    assert torch.allclose(loss, expected, rtol=1e-5)
    for one, other in zip(got, want, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_low_precision_stays_close_and_returns_the_inputs_types() -> None:
    features, weight, targets = inputs(300)
    expected = F.cross_entropy(F.linear(features, weight), targets, reduction="sum")
    want = torch.autograd.grad(expected, (features, weight))
    loss = LinearCrossEntropy(torch.bfloat16)(features, weight, targets)
    got = torch.autograd.grad(loss, (features, weight))
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.02)
    for one, other in zip(got, want, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm()) < 0.03 * float(other.norm())


def test_without_gradients_only_the_loss_is_computed() -> None:
    """In memory for one chunk of rows, of which there are three."""
    features, weight, targets = inputs(1100)
    cross_entropy = LinearCrossEntropy()
    with torch.no_grad():
        loss = cross_entropy(features, weight, targets)
    assert len(cross_entropy._scratch) < 1100
    assert not loss.requires_grad
    assert torch.allclose(
        loss, F.cross_entropy(F.linear(features, weight), targets, reduction="sum"), rtol=1e-5
    )


def test_windows_of_any_size_share_the_memory() -> None:
    cross_entropy = LinearCrossEntropy()
    for rows in (5, 700, 3, 0, 600):
        features, weight, targets = inputs(rows)
        loss = cross_entropy(features, weight, targets)
        got = torch.autograd.grad(loss, (features, weight))
        expected = F.cross_entropy(F.linear(features, weight), targets, reduction="sum")
        want = torch.autograd.grad(expected, (features, weight))
        assert torch.allclose(loss, expected, rtol=1e-5)
        for one, other in zip(got, want, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_hopeless_prediction_costs_much_but_not_infinitely() -> None:
    features = torch.tensor([[1000.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    loss = LinearCrossEntropy()(features, weight, torch.tensor([1]))
    assert 80 < float(loss.detach()) < 2000
    gradient = torch.autograd.grad(loss, weight)[0]
    assert gradient.flatten().tolist() == [1000.0, -1000.0]
