"""A fingerprint tells one state of a checkpoint folder from another."""

from __future__ import annotations

import os
from pathlib import Path

from models.checkpoint import CONFIG
from service.model_entry import Entry


def test_the_same_folder_has_the_same_fingerprint(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text("{}")
    entry = Entry(name="m", folder=tmp_path)
    assert entry.fingerprint() is not None
    assert entry.fingerprint() == Entry(name="other", folder=tmp_path).fingerprint()


def test_what_is_written_or_put_in_its_place_changes_it(tmp_path: Path) -> None:
    config, entry = tmp_path / CONFIG, Entry(name="m", folder=tmp_path)
    config.write_text("{}")
    seen = {entry.fingerprint()}
    config.write_text("{} ")
    seen.add(entry.fingerprint())
    os.utime(config, ns=(0, 1))
    seen.add(entry.fingerprint())
    # Another file of the same size and time, as `mv` puts it there.
    other = tmp_path / "other"
    other.write_text("[] ")
    os.utime(other, ns=(0, 1))
    other.replace(config)
    seen.add(entry.fingerprint())
    assert len(seen) == 4


def test_nothing_to_look_at_has_none(tmp_path: Path) -> None:
    assert Entry(name="m").fingerprint() is None
    assert Entry(name="m", folder=tmp_path).fingerprint() is None
    assert Entry(name="m", folder=tmp_path / "missing").fingerprint() is None
