"""CHANGELOG.md keeps to the form of Keep a Changelog 1.1.0, and to the version of the package."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CHANGELOG.md").read_text("utf-8")
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
_RELEASE = re.compile(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)( \[YANKED\])?")
_UNRELEASED = "[Unreleased]"


def faults(text: str) -> list[str]:
    """How a changelog differs from the form; nothing where it does not."""
    head, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    found = [] if head.startswith("# Changelog\n") else ["the title is not '# Changelog'"]
    found += [
        f"no link to {link}" for link in ("keepachangelog.com", "semver.org") if link not in head
    ]
    titles = [section.partition("\n")[0] for section in sections]
    if titles[:1] != [_UNRELEASED]:
        found.append("the first section is not [Unreleased]")
    releases = [_RELEASE.fullmatch(title) for title in titles[1:]]
    found += [
        f"no version and date: {title}"
        for title, release in zip(titles[1:], releases, strict=True)
        if release is None
    ]
    for later, earlier in pairwise(release for release in releases if release):
        if _number(later[1]) <= _number(earlier[1]) or _day(later[2]) < _day(earlier[2]):
            found.append(f"{later[1]} does not come after {earlier[1]}")
    for title, section in zip(titles, sections, strict=True):
        found += [f"{title}: {fault}" for fault in _faults_of_section(section)]
    return found


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _faults_of_section(section: str) -> list[str]:
    before, *parts = re.split(r"^### ", section.partition("\n")[2], flags=re.MULTILINE)
    kinds = [part.partition("\n")[0] for part in parts]
    found = [f"text outside a kind of change: {before.strip()[:40]}"] if before.strip() else []
    found += [f"no kind of change: {kind}" for kind in kinds if kind not in KINDS]
    known = [kind for kind in kinds if kind in KINDS]
    if known != sorted(set(known), key=KINDS.index):
        found.append(f"kinds twice, or not in their order: {known}")
    for kind, part in zip(kinds, parts, strict=True):
        lines = part.partition("\n")[2].splitlines()
        if not any(line.startswith("- ") for line in lines):
            found.append(f"{kind} is empty")
        found += [
            f"{kind}: neither an entry nor its next line: {line}"
            for line in lines
            if line and not line.startswith(("- ", "  "))
        ]
    return found


def test_its_form() -> None:
    assert faults(TEXT) == []


def test_the_package_is_the_latest_release_or_the_first_one_to_come() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    released = [release[1] for release in _RELEASE.finditer(TEXT)]
    assert project["version"] == (released[0] if released else "0.1.0")


_GOOD = """# Changelog

[Keep a Changelog](https://keepachangelog.com/en/1.1.0/), [versions](https://semver.org/).

## [Unreleased]

### Added

- One thing,
  and how.

## [0.2.0] - 2026-02-03

### Changed

- Another.

### Fixed

- A third.

## [0.1.0] - 2026-01-02

### Added

- All.
"""


def test_a_good_one_has_no_faults() -> None:
    assert faults(_GOOD) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# Changelog", "# Changes"),
        ("https://semver.org/", ""),
        ("## [Unreleased]", "## Unreleased"),
        ("[0.2.0] - 2026-02-03", "[0.2.0]"),
        ("[0.2.0] - 2026-02-03", "[0.2.0] - 3 February 2026"),
        ("[0.2.0] - 2026-02-03", "[0.1.0] - 2026-02-03"),
        ("[0.2.0] - 2026-02-03", "[0.2.0] - 2026-01-01"),
        ("### Changed", "### Improved"),
        ("### Fixed", "### Added"),
        ("- A third.", ""),
        ("- A third.", "A third."),
    ],
)
def test_each_fault_is_found(before: str, after: str) -> None:
    assert _GOOD.count(before) >= 1
    assert faults(_GOOD.replace(before, after, 1))
