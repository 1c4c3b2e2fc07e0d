"""Keys: what a file may say, who a key belongs to, rotation while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import pytest

from service import keys
from service.keys import SCOPES, KeyFileError, KeyRing, new_key, parse_key, read_key_file


def line(name: str, scopes: str, key: str) -> str:
    return f"{name} {scopes} sha256:{hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# ours\n\n" + line("alice", "use,observe", "a") + line("bob", "use", "b"))
    return path


def test_a_file_names_owners_and_scopes(file: Path) -> None:
    alice, bob = read_key_file(file)
    assert (alice.name, set(alice.scopes)) == ("alice", {"use", "observe"})
    assert (bob.name, set(bob.scopes)) == ("bob", {"use"})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("alice use", "line 1: expected NAME SCOPES"),
        ("alice all sha256:" + "0" * 64, "no such scope: 'all'"),
        ("a/b use sha256:" + "0" * 64, "a name has"),
        ("alice use secret", "third word"),
        (("alice use sha256:" + "0" * 64 + "\n") * 2, "line 2: 'alice' stands there already"),
    ],
)
def test_a_fault_names_its_line(file: Path, text: str, fault: str) -> None:
    file.write_text(text)
    with pytest.raises(KeyFileError, match=fault):
        KeyRing(file=file)


def test_keys_of_the_settings_may_be_hashed() -> None:
    hashed = "sha256:" + hashlib.sha256(b"open sesame").hexdigest()
    ring = KeyRing([hashed, "plain"])
    for key in (b"open sesame", b"plain"):
        found = ring.find(key)
        assert found is not None
        assert found.scopes == SCOPES
    assert ring.find(hashed.encode()) is None
    assert "sesame" not in parse_key("open sesame").name


def test_without_keys_everybody_may_come(file: Path) -> None:
    assert KeyRing().is_empty
    file.write_text("")  # a file without keys lets nobody in
    assert not KeyRing(file=file).is_empty


def test_keys_rotate_while_the_service_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_LOOK_EVERY_S", 0)
    ring = KeyRing(file=file)
    assert ring.find(b"a") is not None
    replacement = file.with_name("fresh")
    replacement.write_text(line("alice", "use", "new"))
    replacement.replace(file)
    assert ring.find(b"a") is None
    assert ring.find(b"new") is not None
    file.write_text("nonsense")
    os.utime(file, (1, 1))
    assert ring.find(b"new") is not None  # a bad file leaves the keys as they were


def test_a_key_is_compared_with_every_one_in_constant_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is digests that are compared, whoever comes: no key itself is kept."""
    compared: list[tuple[bytes, bytes]] = []
    honest = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return honest(one, other)

    monkeypatch.setattr("service.keys.hmac.compare_digest", counting)
    ring = KeyRing(("a given key",), file)
    for key in (b"a given key", b"a", b"nobody's", b""):
        compared.clear()
        ring.find(key)
        assert len(compared) == ring.num_keys
        assert {len(digest) for pair in compared for digest in pair} == {32}
    assert "a given key" not in repr(vars(ring))


def test_a_new_key_opens_with_its_line(file: Path) -> None:
    key, text = new_key("carol", ["use", "operate"])
    file.write_text(text)
    found = KeyRing(file=file).find(key.encode())
    assert found is not None
    assert (found.name, set(found.scopes)) == ("carol", {"use", "operate"})
    assert key not in text
    with pytest.raises(KeyFileError):
        new_key("two words", ["use"])
