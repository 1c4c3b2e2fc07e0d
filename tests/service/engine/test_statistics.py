"""The yardstick itself, against tables."""

import numpy as np
import pytest

from tests.service.engine.statistics import chi_square_p_value


@pytest.mark.parametrize(
    ("degrees", "statistic", "p_value"),
    [(1, 3.841, 0.05), (1, 10.828, 1e-3), (10, 3.94, 0.95), (10, 35.564, 1e-4), (100, 161.3, 1e-4)],
)
def test_p_values_are_those_of_the_table(degrees: int, statistic: float, p_value: float) -> None:
    """The whole statistic comes from two categories, the others fit exactly."""
    observed = expected = np.full(degrees + 1, 1e8)
    off = np.sqrt(statistic / 2 * 1e8).round()
    observed = np.append(expected[:-2], [1e8 + off, 1e8 - off]).astype(np.int64)
    assert chi_square_p_value(observed, expected) == pytest.approx(p_value, rel=0.2)


def test_a_draw_of_what_cannot_be_drawn_is_fatal() -> None:
    assert chi_square_p_value(np.array([99, 1]), np.array([100.0, 0.0])) == 0


def test_one_category_always_fits() -> None:
    assert chi_square_p_value(np.array([100]), np.array([100.0])) == 1


@pytest.mark.parametrize("rest", [0.01, 0.1])
def test_rare_categories_are_judged_together(rest: float) -> None:
    """Whether with others rare like themselves, or with the rarest of the frequent ones."""
    expected = np.array([1000.0, 500.0, *([rest] * 100)])
    fitting = np.array([1000, 500, round(100 * rest), *([0] * 99)])
    assert chi_square_p_value(fitting, expected) > 0.9
    odd = np.array([1000 - 99 + round(100 * rest), 500, 99, *([0] * 99)])
    assert chi_square_p_value(odd, expected) < 1e-4
