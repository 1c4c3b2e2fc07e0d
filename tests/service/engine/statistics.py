"""The one statistical test that the engine's tests need."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def chi_square_p_value(observed: NDArray[np.int64], expected: NDArray[np.float64]) -> float:
    """How likely draws from `expected` fit it worse than `observed`, both counts by category.

    Categories with fewer than 5 expected draws are taken together, for Pearson's statistic follows
    the chi-square distribution only with enough draws in each. A draw where none is expected makes
    the answer 0. The distribution's tail is that of Wilson & Hilferty (1931), good to a fifth of
    its value where it is 1e-4.
    """
    assert observed.shape == expected.shape
    assert math.isclose(observed.sum(), expected.sum(), rel_tol=1e-6)
    if observed[expected == 0].any():
        return 0.0
    order = np.argsort(-expected)
    seen, wanted = observed[order].astype(float), expected[order]
    num_large = max(int((wanted >= 5).sum()), 1)
    if (rest := wanted[num_large:].sum()) < 5:  # too few for a category of their own
        num_large = max(num_large - 1, 1)
        rest = wanted[num_large:].sum()
    if rest == 0:
        return 1.0
    seen = np.append(seen[:num_large], seen[num_large:].sum())
    wanted = np.append(wanted[:num_large], rest)
    statistic = float(((seen - wanted) ** 2 / wanted).sum())
    spread = 2 / (9 * (len(wanted) - 1))
    deviation = (math.cbrt(statistic / (len(wanted) - 1)) - (1 - spread)) / math.sqrt(spread)
    return math.erfc(deviation / math.sqrt(2)) / 2
