"""Other people's logarithms, there and back; figures of their own pages."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.asr.formats.conversions import (
    SPHINX,
    from_bytelog,
    from_cost,
    from_log10,
    to_bytelog,
    to_cost,
    to_log10,
)


@given(value=st.floats(-1e5, 1e5))
def test_conversions_are_inverse(value: float) -> None:
    assert to_log10(from_log10(value)) == pytest.approx(value)
    assert from_bytelog(to_bytelog(value)) == pytest.approx(value, abs=0.0513)


def test_by_hand() -> None:
    assert from_log10(-2) == pytest.approx(math.log(0.01))
    assert from_bytelog(-10000.5) == -1024
    assert to_bytelog(-1024) == -10000  # halves to even, as Python rounds
    assert pytest.approx(math.log(1.0001)) == SPHINX


def test_a_cost_is_the_score_turned_around_and_nothing_has_no_sign() -> None:
    assert (from_cost(2.5), to_cost(-2.5)) == (-2.5, 2.5)
    assert math.copysign(1, from_cost(0.0)) == math.copysign(1, to_cost(0.0)) == 1
