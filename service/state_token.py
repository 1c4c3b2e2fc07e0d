"""Sealing a state for the client: opaque, URL-safe, encrypted, authenticated, of constant size.

The server keeps nothing: whoever holds the key, any replica, can go on from a token. AES-SIV (RFC
5297), keys by HKDF (RFC 5869), both of the library `cryptography`. SIV needs no nonce: the same
state gives the same token, as the same request gives the same answer; a token tells no more.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from models.pretokenize import MAX_WORD
from service.engine_state import EngineState

VERSION = 2
# A space and a word that is one character short of being final, each character 4 bytes at most.
_PENDING_BYTES = 4 * (MAX_WORD + 1)
# flags, bytes of pending text, pending text, SHA-256 of the checkpoint's digest, that of the
# owner's name, unix time of sealing (0 where tokens do not age)
_HEADER = struct.Struct(f"<BB{_PENDING_BYTES}s32s32sQ")
_CONTINUES_LINE, _HAS_STATE = 1, 2


class InvalidStateError(ValueError):
    """A token that this server did not seal for this model, or that was changed on its way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """Where a sequence stands.

    engine_state: after the last final token; None where no token is
        final yet and the sequence began from nothing.
    pending: text after it whose segmentation later text may still change.
    continuation: the pending text goes on in the middle of a line.
    """

    engine_state: EngineState | None
    pending: str
    continuation: bool


class StateCodec:
    """Seals states with one key, and opens those of several."""

    def __init__(
        self,
        key: bytes,
        older_keys: Sequence[bytes] = (),
        *,
        max_age_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`key`: a secret of at least 16 bytes, the same on every replica, which seals;
        older_keys: those whose tokens are still opened; max_age_s: for how long any token is.
        """
        self._ciphers = [AESSIV(_derive(each)) for each in (key, *older_keys)]
        self._max_age_s, self._clock = max_age_s, clock

    def seal(self, state: State, *, digest: str, state_size: int, owner: str = "") -> str:
        """The token; its length depends on `state_size` alone. `owner`: who alone may open it."""
        pending = state.pending.encode()
        assert len(pending) <= _PENDING_BYTES
        flags = _CONTINUES_LINE * state.continuation | _HAS_STATE * (state.engine_state is not None)
        now = 0 if self._max_age_s is None else int(self._clock())
        names = (_fingerprint(digest), _fingerprint(owner))
        header = _HEADER.pack(flags, len(pending), pending, *names, now)
        engine_state = state.engine_state
        data = bytes(4 * state_size) if engine_state is None else engine_state.to_bytes()
        assert len(data) == 4 * state_size
        version = bytes([VERSION])
        sealed = self._ciphers[0].encrypt(header + data, [version])
        return urlsafe_b64encode(version + sealed).rstrip(b"=").decode("ascii")

    def open(self, token: str, *, digest: str, state_size: int, owner: str = "") -> State:
        """Inverse of `seal`; raises `InvalidStateError` for whatever `seal` did not make."""
        payload = self._decrypt(_decode(token))
        flags, pending_size, pending, model, sealed_for, when = _HEADER.unpack_from(payload)
        if model != _fingerprint(digest):
            raise InvalidStateError(
                "it belongs to another model, or to a checkpoint that this one has replaced: send "
                "the text again"
            )
        if sealed_for != _fingerprint(owner):
            raise InvalidStateError("it was sealed for the owner of another API key")
        if self._max_age_s is not None and self._clock() - when > self._max_age_s:
            raise InvalidStateError(
                f"it is older than {self._max_age_s:g} s and no longer valid: send the text again"
            )
        assert len(payload) == _HEADER.size + 4 * state_size
        engine_state = EngineState.from_bytes(payload[_HEADER.size :])
        return State(
            engine_state=engine_state if flags & _HAS_STATE else None,
            pending=pending[:pending_size].decode(),
            continuation=bool(flags & _CONTINUES_LINE),
        )

    def _decrypt(self, sealed: bytes) -> bytes:
        version = sealed[:1]
        if version and version[0] != VERSION:
            raise InvalidStateError(
                f"it was altered, or has format version {version[0]}; this server reads {VERSION}"
            )
        for cipher in self._ciphers:
            try:
                return cipher.decrypt(sealed[1:], [version])
            except (InvalidTag, ValueError):
                continue
        raise InvalidStateError("it was altered, cut short or sealed with another key")


def _decode(token: str) -> bytes:
    """The bytes of a token; only one spelling of them is taken."""
    try:
        text = token.encode("ascii")
        decoded = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except (UnicodeEncodeError, binascii.Error) as error:
        raise InvalidStateError("it was altered, cut short or is no state at all") from error
    if urlsafe_b64encode(decoded).rstrip(b"=") != text:
        raise InvalidStateError("it was altered, cut short or is no state at all")
    return decoded


def _derive(key: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=64, salt=None, info=b"lstm-serve/state").derive(key)


def _fingerprint(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
