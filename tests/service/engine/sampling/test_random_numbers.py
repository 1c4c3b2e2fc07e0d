"""Uniform, without memory, and unrelated between streams that lie next to each other."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine.sampling.draw import stream_key, uniform, uniforms
from tests.service.engine.statistics import chi_square_p_value

LEAST_P = 1e-4  # the draws are the same on every run: a pass stays a pass


def stream(key: int, size: int) -> list[float]:
    return [uniform(key, position) for position in range(size)]


# The ways in which a service walks through its keys, one part of the key changing at a time.
WALKS: dict[str, Callable[[int], float]] = {
    "positions": lambda k: uniform(stream_key(0, 0, 0), k),
    "seeds": lambda k: uniform(stream_key(k, 0, 0), 0),
    "prompts": lambda k: uniform(stream_key(0, k, 0), 0),
    "samples": lambda k: uniform(stream_key(0, 0, k), 3),
    "attempts": lambda k: uniform(stream_key(4), 5, k),
    "high seeds": lambda k: uniform(stream_key(k << 40, 0, 0), 1),
}


@pytest.fixture(scope="module", params=WALKS)
def draws(request: pytest.FixtureRequest) -> list[float]:
    return [WALKS[request.param](k) for k in range(40_000)]


def bins(draws: list[float], count: int) -> NDArray[np.int64]:
    return (np.array(draws) * count).astype(np.int64)


def test_draws_are_uniform(draws: list[float]) -> None:
    observed = np.bincount(bins(draws, 200), minlength=200)
    assert chi_square_p_value(observed, np.full(200, len(draws) / 200)) > LEAST_P


@pytest.mark.parametrize("lag", [1, 2])
def test_a_draw_says_nothing_about_the_next(draws: list[float], lag: int) -> None:
    """Serial test (Knuth, TAOCP 3.3.2 B): pairs are uniform on the square."""
    first, second = bins(draws[::3], 20), bins(draws[lag::3], 20)
    size = min(len(first), len(second))
    observed = np.bincount(20 * first[:size] + second[:size], minlength=400)
    assert chi_square_p_value(observed, np.full(400, size / 400)) > LEAST_P


def test_the_last_bits_are_uniform_too(draws: list[float]) -> None:
    low = np.array([int(draw * 2**53) % 256 for draw in draws])
    observed = np.bincount(low, minlength=256)
    assert chi_square_p_value(observed, np.full(256, len(draws) / 256)) > LEAST_P


def test_streams_of_neighbouring_samples_and_positions_are_unrelated() -> None:
    """No diagonal: sample k at position t is not sample k + 1 at position t - 1, or the like."""
    size = 200
    table = np.array([stream(stream_key(5, 0, sample), size) for sample in range(size)])
    for down, right in product((0, 1), (-1, 0, 1)):
        if down or right > 0:
            moved = np.roll(table, (down, right), axis=(0, 1))
            correlation = np.corrcoef(table.ravel(), moved.ravel())[0, 1]
            assert abs(correlation) < 4 / size  # four standard deviations


@given(seed=st.integers(-(2**130), 2**130), parts=st.lists(st.integers(0, 2**70), max_size=3))
def test_a_draw_lies_in_the_half_open_unit_interval(seed: int, parts: list[int]) -> None:
    key = stream_key(seed, *parts)
    assert 0 <= key < 2**64
    assert all(0 <= uniform(key, position) < 1 for position in (0, 1, 2**40))


@given(
    st.lists(
        st.tuples(st.integers(0, 2**70), st.integers(0, 5), st.integers(0, 5)),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_every_part_of_the_key_and_its_place_matters(keys: list[tuple[int, int, int]]) -> None:
    first, second = (stream_key(*key) for key in keys)
    assert first != second
    assert stream(first, 2) != stream(second, 2)


def test_seeds_of_more_than_64_bits_differ_in_all_of_them() -> None:
    assert len({stream_key(seed) for seed in (1, 1 + 2**64, 1 + 2**65, -1, 2**64 - 1)}) == 5


def test_draws_are_the_same_for_ever() -> None:
    """A seed that a user wrote down must give the same text after an upgrade."""
    assert uniform(stream_key(42, 1, 2), 3) == 0.04849150174930539


def test_many_at_once_are_the_same_numbers() -> None:
    keys, positions = [stream_key(k) for k in range(50)], [7 * k for k in range(50)]
    arrays = np.array(keys, np.uint64), np.array(positions, np.uint64)
    for attempt in (0, 1, 30):
        each = [uniform(*pair, attempt) for pair in zip(keys, positions, strict=True)]
        assert uniforms(*arrays, attempt).tolist() == each
