"""Sealing a state for the client: opaque, URL-safe, authenticated, of constant size. Pure.

The server keeps nothing: whoever holds the key, any replica, can go on from a token. Signing is
itsdangerous' (HMAC-SHA256).
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from itsdangerous import BadSignature, Signer

from models.pretokenize import MAX_WORD
from service.engine_state import EngineState

VERSION = 1
# A space and a word that is one character short of being final, each character 4 bytes at most.
_PENDING_BYTES = 4 * (MAX_WORD + 1)
# version, flags, bytes of pending text, pending text, SHA-256 of the checkpoint's digest
_HEADER = struct.Struct(f"<BBB{_PENDING_BYTES}s32s")
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
    """Seals and opens states with one key."""

    def __init__(self, key: bytes) -> None:
        """`key`: a secret of at least 16 bytes, the same on every replica."""
        self._signer = Signer(
            key, salt=b"lstm-serve/state", key_derivation="hmac", digest_method=hashlib.sha256
        )

    def seal(self, state: State, *, digest: str, state_size: int) -> str:
        """The token; its length depends on `state_size` alone."""
        pending = state.pending.encode()
        assert len(pending) <= _PENDING_BYTES
        flags = _CONTINUES_LINE * state.continuation | _HAS_STATE * (state.engine_state is not None)
        header = _HEADER.pack(VERSION, flags, len(pending), pending, _fingerprint(digest))
        engine_state = state.engine_state
        data = bytes(4 * state_size) if engine_state is None else engine_state.to_bytes()
        assert len(data) == 4 * state_size
        payload = urlsafe_b64encode(header + data)
        return self._signer.sign(payload).decode("ascii")

    def open(self, token: str, *, digest: str, state_size: int) -> State:
        """Inverse of `seal`; raises `InvalidStateError` for whatever `seal` did not make."""
        try:
            payload = urlsafe_b64decode(self._signer.unsign(token.encode("ascii")))
        except (BadSignature, UnicodeEncodeError, binascii.Error) as error:
            raise InvalidStateError(
                "it was altered, cut short or sealed with another key"
            ) from error
        if payload[0] != VERSION:
            raise InvalidStateError(
                f"it has format version {payload[0]}, this server reads {VERSION}"
            )
        _, flags, pending_size, pending, fingerprint = _HEADER.unpack_from(payload)
        if fingerprint != _fingerprint(digest):
            raise InvalidStateError(
                "it belongs to another model, or to a checkpoint that this one has replaced: send "
                "the text again"
            )
        assert len(payload) == _HEADER.size + 4 * state_size
        engine_state = EngineState.from_bytes(payload[_HEADER.size :])
        return State(
            engine_state=engine_state if flags & _HAS_STATE else None,
            pending=pending[:pending_size].decode(),
            continuation=bool(flags & _CONTINUES_LINE),
        )


def _fingerprint(digest: str) -> bytes:
    return hashlib.sha256(digest.encode()).digest()
