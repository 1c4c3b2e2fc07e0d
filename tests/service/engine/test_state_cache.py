"""The cache against a plain dictionary that keeps everything in order of use."""

from __future__ import annotations

import sys
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.engine.request import Floats
from service.engine.state_cache import CachedPrefix, StateCache, start_key
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


class CacheMachine(RuleBasedStateMachine):
    """model: key -> known log-probabilities, oldest use first."""

    @initialize(max_bytes=st.integers(0, 5000))
    def begin(self, max_bytes: int) -> None:
        self.cache = StateCache(max_bytes)
        self.model: OrderedDict[Key, Floats] = OrderedDict()
        self.lookups = self.hits = 0

    @rule(
        start=starts, tokens=sequences, known=st.integers(0, 63), cut=st.none() | st.integers(1, 5)
    )
    def put(self, start: bytes, tokens: tuple[int, ...], known: int, cut: int | None) -> None:
        """Keep a state; with `cut` as what goes on after one that is kept just before."""
        after, begin = None, 0
        if cut is not None and cut < len(tokens):
            after = self.keep(start, tokens[:cut], known, None, 0)
            begin = cut if after is not None else 0
        self.keep(start, tokens, known, after, begin)

    def keep(
        self,
        start: bytes,
        tokens: tuple[int, ...],
        known: int,
        after: CachedPrefix | None,
        begin: int,
    ) -> CachedPrefix | None:
        logprobs, state = logprobs_of(start, tokens, known), state_of(start, tokens)
        place = self.cache.put(start, tokens[begin:], state, logprobs[begin:], after)
        if place is not None:
            self.model.pop((start, tokens), None)
            self.model[start, tokens] = logprobs
        # Those used longest ago made room.
        while len(self.model) > len(self.cache):
            self.model.popitem(last=False)
        return place

    @rule(start=starts, tokens=sequences, data=st.data())
    def look_up(self, start: bytes, tokens: tuple[int, ...], data: st.DataObject) -> None:
        """Without scores the longest kept prefix is found; with them one whose scores are known."""
        max_size = data.draw(st.integers(0, len(tokens)))
        score_from = data.draw(st.integers(0, len(tokens)) | st.just(1 << 62))
        found = self.cache.longest(start, tokens, max_size, score_from)
        self.lookups += 1
        kept = [size for size in range(max_size, 0, -1) if (start, tokens[:size]) in self.model]
        scored = [
            size
            for size in kept
            if not np.isnan(self.model[start, tokens[:size]][score_from:]).any()
        ]
        if found is None:
            assert not scored
            assert not kept or score_from < max_size
            return
        self.hits += 1
        self.model.move_to_end((start, tokens[: found.size]))
        assert found.size in kept
        assert found.size >= max(scored, default=0)
        assert np.array_equal(found.state, state_of(start, tokens[: found.size]))
        # What is known of a prefix may come from any that shares it; what is given is right.
        exact, own = logprobs_of(start, tokens[: found.size]), found.logprobs
        is_known = ~np.isnan(own)
        assert np.array_equal(own[is_known], exact[is_known])
        assert is_known[score_from:].all()
        assert (is_known | np.isnan(self.model[start, tokens[: found.size]])).all()

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "cache"):
            return
        self.cache.check_integrity()
        assert len(self.cache) == len(self.model)
        assert self.cache.num_bytes <= self.cache.max_bytes
        assert (self.cache.lookups, self.cache.hits) == (self.lookups, self.hits)


TestCacheMachine = CacheMachine.TestCase
TestCacheMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def put_anything(cache: StateCache, tokens: tuple[int, ...]) -> None:
    cache.put(b"", tokens, np.zeros(STATE_SIZE, np.float32), np.zeros(len(tokens), np.float32))


def put(cache: StateCache, tokens: tuple[int, ...], start: bytes = b"") -> None:
    cache.put(start, tokens, state_of(start, tokens), logprobs_of(start, tokens))


def test_a_state_is_charged_for_at_least_its_arrays() -> None:
    cache, tokens = StateCache(1 << 20), (1, 2, 3)
    put(cache, tokens)
    arrays = state_of(b"", tokens).nbytes + logprobs_of(b"", tokens).nbytes
    assert cache.num_bytes > arrays


def test_what_prefixes_share_is_kept_once() -> None:
    cache, trunk = StateCache(1 << 20), tuple(range(1000))
    put_anything(cache, trunk)
    alone = cache.num_bytes
    for token in range(8):
        put_anything(cache, (*trunk, token))
    assert cache.num_bytes < alone + 8 * 1000


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = StateCache(0)
    put(cache, (1, 2))
    assert len(cache) == cache.num_bytes == 0
    assert cache.longest(b"", (1, 2), 2, 0) is None


def test_a_state_larger_than_the_bound_leaves_the_others() -> None:
    cache = StateCache(2000)
    put(cache, (1,))
    put(cache, (2,) * 300)
    assert cache.longest(b"", (1,), 1, 0) is not None
    assert cache.longest(b"", (2,) * 300, 300, 0) is None


def test_a_place_is_told_to_be_gone_when_its_state_made_room() -> None:
    cache = StateCache(4000)
    tokens = (1, 2)
    place = cache.put(b"", tokens, state_of(b"", tokens), logprobs_of(b"", tokens))
    assert place is not None
    assert place.is_kept
    for token in range(10):
        put(cache, (3 + token, 0))
    assert not place.is_kept
    cache.check_integrity()


def test_a_lookup_takes_no_longer_when_much_is_kept() -> None:
    """It walks along its own tokens: what lies beside them is not looked at."""
    cache, tokens = StateCache(1 << 30), tuple(range(1000))
    for size in range(1, 1000):
        put_anything(cache, (*tokens[:size], 7))
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:  # noqa: ARG001
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        cache.longest(b"", (5, *tokens), 1000, 0)
    finally:
        sys.setprofile(None)
    assert calls < 20


def test_what_is_kept_is_a_copy() -> None:
    cache, state, logprobs = StateCache(1 << 20), np.ones(4, np.float32), -np.ones(2, np.float32)
    cache.put(b"", (1, 2), state, logprobs)
    state[:], logprobs[:] = 7, 7
    found = cache.longest(b"", (1, 2), 2, 0)
    assert found is not None
    assert found.state.tolist() == [1, 1, 1, 1]
    assert found.logprobs.tolist() == [-1, -1]


def test_ids_beyond_a_byte_are_told_apart() -> None:
    cache = StateCache(1 << 20)
    for token in (2, 258):
        put(cache, (token,))
    for token in (2, 258):
        found = cache.longest(b"", (token,), 1, 0)
        assert found is not None
        assert np.array_equal(found.state, state_of(b"", (token,)))
    assert cache.longest(b"", (2 << 8,), 1, 0) is None


@pytest.mark.parametrize("damage", ["bytes", "states", "logprobs", "a dead end"])
def test_the_integrity_check_sees_damage(damage: str) -> None:
    cache = StateCache(1 << 20)
    put(cache, (1, 2))
    cache.check_integrity()
    (node,) = cache._by_use
    if damage == "bytes":
        cache.num_bytes += 1
    elif damage == "states":
        cache._by_use.clear()
    elif damage == "logprobs":
        node.logprobs = node.logprobs[:1]
    else:
        node.state = None
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


def test_scopes_do_not_see_one_another() -> None:
    state = EngineState(np.zeros(STATE_SIZE, np.float32))
    keys = {start_key(start, scope) for start in (None, state) for scope in ("", "a", "b")}
    assert len(keys) == 6
