import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses import linear_cross_entropy


def inputs(rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    features = torch.randn(rows, 6, dtype=dtype, requires_grad=True)
    weight = torch.randn(9, 6, dtype=dtype, requires_grad=True)
    return features, weight, torch.randint(9, (rows,))


@pytest.mark.parametrize("rows", [1, 7, 256, 600])  # below, at and above a chunk of rows
def test_loss_and_gradients_are_those_of_torch(rows: int) -> None:
    features, weight, targets = inputs(rows)
    expected = F.cross_entropy(F.linear(features, weight), targets, reduction="sum")
    want = torch.autograd.grad(3 * expected, (features, weight))
    loss = linear_cross_entropy(features, weight, targets)
    got = torch.autograd.grad(3 * loss, (features, weight))
    assert torch.allclose(loss, expected, rtol=1e-5)
    for one, other in zip(got, want, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_low_precision_stays_close_and_returns_the_inputs_types() -> None:
    features, weight, targets = inputs(300)
    expected = F.cross_entropy(F.linear(features, weight), targets, reduction="sum")
    want = torch.autograd.grad(expected, (features, weight))
    loss = linear_cross_entropy(features, weight, targets, torch.bfloat16)
    got = torch.autograd.grad(loss, (features, weight))
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.02)
    for one, other in zip(got, want, strict=True):
        assert one.dtype == torch.float32
        assert float((one - other).norm()) < 0.03 * float(other.norm())


def test_without_gradients_only_the_loss_is_computed() -> None:
    features, weight, targets = inputs(300)
    with torch.no_grad():
        loss = linear_cross_entropy(features, weight, targets)
    assert not loss.requires_grad
    assert torch.allclose(
        loss, F.cross_entropy(F.linear(features, weight), targets, reduction="sum"), rtol=1e-5
    )
