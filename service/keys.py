"""API keys: who may do what. Only digests are kept; a key itself is never stored or logged.

A key file has one key a line, `#` begins a comment:

    NAME  SCOPES  sha256:HEX
    alice use,observe  sha256:9f86d081884c7d65...

`lstm-serve new-key NAME` makes a key and its line. Keys are random, so that a plain SHA-256 of one
is as hard to guess as the key. The file is read again when it changes.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

logger = logging.getLogger(__name__)

# use: every route that computes or describes; operate: reload; observe: metrics.
Scope = Literal["use", "operate", "observe"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
_HASHED = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LOOK_EVERY_S = 1.0


class KeyFileError(ValueError):
    """A key file that cannot be used; the message names the line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiKey:
    """name: what logs and quotas call its owner; digest: SHA-256 of the key."""

    name: str
    digest: bytes
    scopes: frozenset[Scope] = SCOPES


def parse_key(given: str) -> ApiKey:
    """A key of the settings: itself, or `sha256:HEX` of it. It may do everything."""
    hashed = _HASHED.fullmatch(given)
    digest = bytes.fromhex(hashed[1]) if hashed else hashlib.sha256(given.encode()).digest()
    # Told apart in logs by a digest of the digest, which tells nothing about either.
    return ApiKey(name="key-" + hashlib.sha256(digest).hexdigest()[:8], digest=digest)


def read_key_file(path: Path) -> list[ApiKey]:
    """The keys of a file. Raises KeyFileError."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} cannot be read: {error}") from error
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(lines, 1):
        if words := line.partition("#")[0].split():
            key = _parse_line(f"{path}, line {number}", words)
            if key.name in keys:
                raise KeyFileError(f"{path}, line {number}: {key.name!r} stands there already")
            keys[key.name] = key
    return list(keys.values())


def _parse_line(place: str, words: list[str]) -> ApiKey:
    if len(words) != 3:
        raise KeyFileError(f"{place}: expected NAME SCOPES sha256:HEX")
    name, listed, hashed = words
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"{place}: a name has 1 to 64 letters, digits, '.', '_' or '-'")
    if unknown := set(listed.split(",")) - SCOPES:
        known = ", ".join(sorted(SCOPES))
        raise KeyFileError(f"{place}: no such scope: {sorted(unknown)[0]!r}; there are {known}")
    if not (found := _HASHED.fullmatch(hashed)):
        raise KeyFileError(f"{place}: the third word must be sha256: and 64 hexadecimal digits")
    scopes: frozenset[Scope] = frozenset(s for s in SCOPES if s in listed.split(","))
    return ApiKey(name=name, digest=bytes.fromhex(found[1]), scopes=scopes)


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """(a new key, its line for a key file)."""
    key = secrets.token_urlsafe(32)
    line = f"{name} {','.join(scopes)} sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    _parse_line("the new key", line.split())
    return key, line


class KeyRing:
    """All keys in force. Used from one event loop."""

    def __init__(self, given: Iterable[str] = (), file: Path | None = None) -> None:
        """`given`: keys of the settings; `file`: looked at again as time goes on.

        Raises KeyFileError where the file cannot be used at the start.
        """
        self._given = [parse_key(key) for key in given]
        self._file, self._stamp, self._looked = file, _stamp(file), time.monotonic()
        self._filed = [] if file is None else read_key_file(file)

    @property
    def is_empty(self) -> bool:
        """Whether everybody may come."""
        return not self._given and self._file is None

    @property
    def num_keys(self) -> int:
        return len(self._given) + len(self._filed)

    def find(self, key: bytes) -> ApiKey | None:
        """Whose key this is. Takes the same time for every key that is nobody's."""
        self._look()
        digest, found = hashlib.sha256(key).digest(), None
        for candidate in (*self._given, *self._filed):  # all of them: time tells nothing
            if hmac.compare_digest(digest, candidate.digest):
                found = candidate
        return found

    def _look(self) -> None:
        """Read the file again if it has changed; one that cannot be used leaves the old keys."""
        now = time.monotonic()
        if self._file is None or now - self._looked < _LOOK_EVERY_S:
            return
        self._looked, stamp = now, _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._filed = read_key_file(self._file)
        except KeyFileError as error:
            logger.error("the keys stay as they were: %s", error)
        else:
            logger.info("%d keys read from %s", len(self._filed), self._file)


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    if file is None:
        return None
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
