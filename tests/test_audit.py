"""What `make check` makes of pip-audit: a find fails it, a database out of reach does not."""

from __future__ import annotations

import json
from typing import Any

from tests.audit import verdict


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": dependencies})


SOUND = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "not found"}
FAULT = {"id": "CVE-2026-1", "fix_versions": ["3.1"]}


def test_a_find_fails() -> None:
    hurt = {"name": "c", "version": "3", "vulns": [FAULT]}
    code, said = verdict(1, report(SOUND, hurt, UNKNOWN), "")
    assert code == 1
    assert "c 3: CVE-2026-1, mended in 3.1" in said


def test_no_find_says_how_much_was_looked_at() -> None:
    assert verdict(0, report(SOUND, UNKNOWN), "")[0] == 0
    assert "1 of 2" in verdict(0, report(SOUND, UNKNOWN), "")[1]
    assert "nothing audited" in verdict(0, report(UNKNOWN), "")[1]


def test_out_of_reach_is_told_and_passes_but_other_failures_do_not() -> None:
    code, said = verdict(1, "", "requests.exceptions.ConnectionError: ...")
    assert (code, "cannot be reached" in said) == (0, True)
    assert verdict(1, "", "requests.exceptions.HTTPError: 403 Client Error")[0] == 0
    assert verdict(1, "", "error: the requirements file is invalid")[0] == 1
    assert verdict(0, "no json", "")[0] == 1
