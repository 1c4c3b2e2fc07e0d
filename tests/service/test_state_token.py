from base64 import urlsafe_b64decode
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine_state import EngineState
from service.state_token import InvalidStateError, State, StateCodec

DIGEST, SIZE = "sha256:abc", 5
CODEC = StateCodec(b"k" * 32)

pending_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=33)
states = st.builds(
    State,
    engine_state=st.none()
    | st.lists(st.floats(width=32, allow_nan=False), min_size=SIZE, max_size=SIZE).map(
        lambda values: EngineState(np.array(values, np.float32))
    ),
    pending=pending_texts,
    continuation=st.booleans(),
)


def seal(state: State) -> str:
    return CODEC.seal(state, digest=DIGEST, state_size=SIZE)


def open_(token: str, codec: StateCodec = CODEC, digest: str = DIGEST) -> State:
    return codec.open(token, digest=digest, state_size=SIZE)


A_STATE = State(
    engine_state=EngineState(np.arange(SIZE, dtype=np.float32)), pending="wor", continuation=True
)


@given(states)
def test_open_inverts_seal_bit_for_bit(state: State) -> None:
    opened = open_(seal(state))
    assert (opened.pending, opened.continuation) == (state.pending, state.continuation)
    if state.engine_state is None:
        assert opened.engine_state is None
    else:
        assert opened.engine_state is not None
        assert opened.engine_state.to_bytes() == state.engine_state.to_bytes()


@given(states, states)
def test_length_is_constant(one: State, other: State) -> None:
    assert len(seal(one)) == len(seal(other))


@given(states)
def test_token_is_url_safe(state: State) -> None:
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=")
    assert set(seal(state)) <= allowed


@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    token = seal(A_STATE)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda c: c != token[place]))
    with pytest.raises(InvalidStateError):
        open_(token[:place] + other + token[place + 1 :])


@given(st.text())
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidStateError):
        open_(text)


@given(st.integers(0, 300))
def test_truncated_token_is_refused(length: int) -> None:
    token = seal(A_STATE)
    with pytest.raises(InvalidStateError):
        open_(token[: min(length, len(token) - 1)])


def test_another_key_is_refused() -> None:
    with pytest.raises(InvalidStateError, match="another key"):
        open_(seal(A_STATE), codec=StateCodec(b"q" * 32))


def test_the_same_key_elsewhere_opens() -> None:
    assert open_(seal(A_STATE), codec=StateCodec(b"k" * 32)).pending == "wor"


def test_another_model_is_refused() -> None:
    with pytest.raises(InvalidStateError, match="another model"):
        open_(seal(A_STATE), digest="sha256:def")


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("service.state_token.VERSION", 1)
        token = seal(A_STATE)
    with pytest.raises(InvalidStateError, match="version 1; this server reads 2"):
        open_(token)


def test_nothing_of_a_state_can_be_read() -> None:
    """Once they were signed only: the pending text stood in them for all to read."""
    secret = replace(A_STATE, pending="secret word")
    token = seal(secret)
    assert token == seal(secret)  # as every answer is, to the last bit
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert b"secret" not in raw
    assert A_STATE.engine_state is not None
    assert A_STATE.engine_state.to_bytes()[:8] not in raw


def test_keys_rotate() -> None:
    old, new = StateCodec(b"k" * 32), StateCodec(b"n" * 32, [b"k" * 32])
    assert open_(seal(A_STATE), codec=new).pending == "wor"
    fresh = new.seal(A_STATE, digest=DIGEST, state_size=SIZE)
    assert open_(fresh, codec=new).pending == "wor"
    with pytest.raises(InvalidStateError):
        open_(fresh, codec=old)


def test_a_state_may_belong_to_an_owner() -> None:
    token = CODEC.seal(A_STATE, digest=DIGEST, state_size=SIZE, owner="alice")
    assert CODEC.open(token, digest=DIGEST, state_size=SIZE, owner="alice").pending == "wor"
    for other in ("bob", ""):
        with pytest.raises(InvalidStateError, match="another API key"):
            CODEC.open(token, digest=DIGEST, state_size=SIZE, owner=other)


def test_a_state_may_expire() -> None:
    now = 1000.0
    codec = StateCodec(b"k" * 32, max_age_s=60, clock=lambda: now)
    token = codec.seal(A_STATE, digest=DIGEST, state_size=SIZE)
    now += 59
    assert open_(token, codec=codec).pending == "wor"
    now += 2
    with pytest.raises(InvalidStateError, match="older than 60 s"):
        open_(token, codec=codec)
    now = 0  # a clock that was set back harms nobody
    assert open_(token, codec=codec).pending == "wor"
