"""A kernel that computes something else is found at load."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.engine.hosts.self_check import check_known_answers, plain_logprobs
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.small_models import SHAPES, Oracle, random_weights


@pytest.mark.parametrize("shape", SHAPES)
def test_the_plain_computation_is_the_oracles(shape: str) -> None:
    config = SHAPES[shape]
    weights = random_weights(config)
    ids = [3, 1, 4, 1, 5]
    expected = Oracle(config, weights).read(ids).logprobs[1:]
    np.testing.assert_allclose(plain_logprobs(config, weights, np.array(ids)), expected, atol=1e-4)


@pytest.mark.parametrize("arithmetic", ["fp32", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sound_kernel_passes(shape: str, arithmetic: Any) -> None:
    config = SHAPES[shape]
    weights = random_weights(config, spread=0.5)
    check_known_answers(
        OnnxRunner(config, weights, arithmetic=arithmetic, max_rows=2), config, weights
    )


@pytest.mark.parametrize("arithmetic", ["fp32", "int8"])
def test_a_kernel_of_other_weights_fails(arithmetic: Any) -> None:
    config = SHAPES["tied"]
    runner = OnnxRunner(config, random_weights(config, 1), arithmetic=arithmetic, max_rows=2)
    with pytest.raises(ValueError, match="self-check failed"):
        check_known_answers(runner, config, random_weights(config, 2, spread=3.0))


def test_weights_that_overflow_fail() -> None:
    config = SHAPES["free softmax"]
    weights = random_weights(config)
    weights["output.weight"] = np.full_like(weights["output.weight"], 3e38)
    runner = OnnxRunner(config, weights, arithmetic="fp32", max_rows=2)
    with pytest.raises(ValueError, match=r"not finite|self-check failed"):
        check_known_answers(runner, config, weights)
