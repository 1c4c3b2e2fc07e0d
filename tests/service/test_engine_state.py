"""A state survives its bytes to the last bit, and is equal to no other."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine_state import EngineState

floats = st.lists(st.floats(width=32, allow_nan=False), max_size=6)


def state_of(values: list[float]) -> EngineState:
    return EngineState(np.array(values, np.float32))


@given(floats)
def test_bytes_are_little_endian_floats_and_give_the_state_back(values: list[float]) -> None:
    state = state_of(values)
    assert state.to_bytes() == struct.pack(f"<{len(values)}f", *values)
    again = EngineState.from_bytes(state.to_bytes())
    assert again == state
    assert hash(again) == hash(state)
    assert again.num_floats == len(values)


def test_signs_of_zero_are_told_apart() -> None:
    assert state_of([0.0]) != state_of([-0.0])
    assert state_of([1.0]) != state_of([1.0, 0.0])


def test_half_a_float_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        EngineState.from_bytes(b"12345")
