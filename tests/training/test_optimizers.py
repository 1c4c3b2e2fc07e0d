import math
from itertools import pairwise

import pytest

from training.config import OptimizerSection
from training.optimizers import learning_rate

CONFIG = OptimizerSection(lr=1.0, warmup_tokens=100, min_lr_ratio=0.1)


def test_it_rises_linearly_and_falls_as_a_cosine() -> None:
    rates = [learning_rate(CONFIG, tokens, 1100) for tokens in range(1101)]
    assert rates[0] > 0
    rises = [b - a for a, b in pairwise(rates[:101])]
    assert max(rises) == pytest.approx(min(rises))
    assert rates[100] == 1.0
    for tokens in (350, 600, 850):
        share = (tokens - 100) / 1000
        assert rates[tokens] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * share)))
    assert rates[1100] == pytest.approx(0.1)
    assert all(b <= a for a, b in pairwise(rates[100:]))


def test_a_run_shorter_than_its_warm_up_and_one_too_long_stay_in_bounds() -> None:
    assert 0 < learning_rate(CONFIG, 50, 60) < 1
    assert learning_rate(CONFIG, 5000, 1100) == pytest.approx(0.1)
    no_warmup = CONFIG.model_copy(update={"warmup_tokens": 0})
    assert learning_rate(no_warmup, 0, 1000) == 1.0
