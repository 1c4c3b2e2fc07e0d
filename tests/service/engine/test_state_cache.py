"""The cache against a plain dictionary that keeps everything in order of use."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.engine.request import Floats
from service.engine.state_cache import StateCache, start_key
from service.engine_state import EngineState

STATE_SIZE = 5
Key = tuple[bytes, tuple[int, ...]]

starts = st.sampled_from([b"", b"one", b"two"])
sequences = st.lists(st.integers(0, 1), min_size=1, max_size=6).map(tuple)


def state_of(start: bytes, tokens: tuple[int, ...]) -> Floats:
    """Some state that only this history has."""
    return np.random.default_rng([len(start), *tokens, 7]).random(STATE_SIZE, np.float32)


def logprobs_of(start: bytes, tokens: tuple[int, ...], known: int = (1 << 10) - 1) -> Floats:
    """ln P of each token as a function of its history; NaN where `known` has no bit."""
    values = [-sum(state_of(start, tokens[: k + 1])) for k in range(len(tokens))]
    bits = [known >> k & 1 for k in range(len(tokens))]
    return np.where(bits, values, np.nan).astype(np.float32)


def cost_of(start: bytes, tokens: tuple[int, ...]) -> int:
    """Bytes that one entry is charged for."""
    cache = StateCache(1 << 20)
    cache.put(start, tokens, state_of(start, tokens), logprobs_of(start, tokens))
    return cache.num_bytes


class CacheMachine(RuleBasedStateMachine):
    """model: key -> known log-probabilities, oldest use first."""

    @initialize(entries=st.integers(0, 6))
    def begin(self, entries: int) -> None:
        self.cache = StateCache(entries * cost_of(b"", (0,) * 6))
        self.model: OrderedDict[Key, Floats] = OrderedDict()
        self.lookups = self.hits = 0

    def model_bytes(self) -> int:
        return sum(cost_of(start, tokens) for start, tokens in self.model)

    @rule(start=starts, tokens=sequences, known=st.integers(0, 63))
    def put(self, start: bytes, tokens: tuple[int, ...], known: int) -> None:
        state, logprobs = state_of(start, tokens), logprobs_of(start, tokens, known)
        self.cache.put(start, tokens, state, logprobs)
        if (before := self.model.pop((start, tokens), None)) is not None:
            logprobs = np.where(np.isnan(logprobs), before, logprobs)
        self.model[start, tokens] = logprobs
        while self.model_bytes() > self.cache.max_bytes:
            self.model.popitem(last=False)

    @rule(start=starts, tokens=sequences, data=st.data())
    def look_up(self, start: bytes, tokens: tuple[int, ...], data: st.DataObject) -> None:
        max_size = data.draw(st.integers(0, len(tokens)))
        score_from = data.draw(st.integers(0, len(tokens)) | st.just(1 << 62))
        found = self.cache.longest(start, tokens, max_size, score_from)
        self.lookups += 1
        for size in range(max_size, 0, -1):
            logprobs = self.model.get((start, tokens[:size]))
            if logprobs is not None and not np.isnan(logprobs[score_from:]).any():
                self.model.move_to_end((start, tokens[:size]))
                self.hits += 1
                assert found is not None
                assert found[0] == size
                assert np.array_equal(found[1].state, state_of(start, tokens[:size]))
                assert np.array_equal(found[1].logprobs, logprobs, equal_nan=True)
                return
        assert found is None

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "cache"):
            return
        self.cache.check_integrity()
        assert len(self.cache) == len(self.model)
        assert self.cache.num_bytes == self.model_bytes() <= self.cache.max_bytes
        assert (self.cache.lookups, self.cache.hits) == (self.lookups, self.hits)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def put(cache: StateCache, tokens: tuple[int, ...], start: bytes = b"") -> None:
    cache.put(start, tokens, state_of(start, tokens), logprobs_of(start, tokens))


def test_an_entry_is_charged_for_at_least_its_arrays() -> None:
    tokens = (1, 2, 3)
    arrays = state_of(b"", tokens).nbytes + logprobs_of(b"", tokens).nbytes
    assert cost_of(b"", tokens) > arrays


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = StateCache(0)
    put(cache, (1, 2))
    assert len(cache) == cache.num_bytes == 0
    assert cache.longest(b"", (1, 2), 2, 0) is None


def test_an_entry_larger_than_the_bound_leaves_the_others() -> None:
    cache = StateCache(cost_of(b"", (1,)) + 8)
    put(cache, (1,))
    put(cache, (2,) * 100)
    assert cache.longest(b"", (1,), 1, 0) is not None
    assert cache.longest(b"", (2,) * 100, 100, 0) is None


def test_what_is_kept_is_a_copy() -> None:
    cache, state, logprobs = StateCache(1 << 20), np.ones(4, np.float32), -np.ones(2, np.float32)
    cache.put(b"", (1, 2), state, logprobs)
    state[:], logprobs[:] = 7, 7
    found = cache.longest(b"", (1, 2), 2, 0)
    assert found is not None
    assert found[1].state.tolist() == [1, 1, 1, 1]
    assert found[1].logprobs.tolist() == [-1, -1]


def test_ids_beyond_a_byte_are_told_apart() -> None:
    cache = StateCache(1 << 20)
    for token in (2, 258):
        put(cache, (token,))
    for token in (2, 258):
        found = cache.longest(b"", (token,), 1, 0)
        assert found is not None
        assert np.array_equal(found[1].state, state_of(b"", (token,)))
    assert cache.longest(b"", (2 << 8,), 1, 0) is None


@pytest.mark.parametrize("damage", ["bytes", "lengths", "logprobs"])
def test_the_integrity_check_sees_damage(damage: str) -> None:
    cache = StateCache(1 << 20)
    put(cache, (1, 2))
    cache.check_integrity()
    if damage == "bytes":
        cache.num_bytes += 1
    elif damage == "lengths":
        cache._lengths[b""][2] += 1
    else:
        key = next(iter(cache._entries))
        cache._entries[key].logprobs.resize(1, refcheck=False)
    with pytest.raises(AssertionError):
        cache.check_integrity()


def test_the_name_of_a_start_state_tells_states_apart_and_nothing_else() -> None:
    state = np.arange(STATE_SIZE, dtype=np.float32)
    nudged = state.copy()
    nudged[0] = np.float32(1e-45)
    assert start_key(None) == b""
    assert start_key(EngineState(state)) == start_key(EngineState(state.copy())) != b""
    assert start_key(EngineState(state)) != start_key(EngineState(nudged))
    assert start_key(EngineState(np.zeros(STATE_SIZE, np.float32))) != start_key(None)
