"""docs/security.md: every promise names the test that holds it, and each of those exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "security.md").read_text("utf-8")
_REFERENCE = re.compile(r"`([\w/]+\.py)::(\w+)`")


def promises() -> list[tuple[str, str]]:
    """(promise, tests) of each row of the page's tables."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return [(row[0], row[-1]) for row in rows if row[0] != "promise"]


@cache
def functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, kinds))


@pytest.mark.parametrize(("promise", "tests"), promises())
def test_the_tests_of_a_promise_exist(promise: str, tests: str) -> None:
    references = _REFERENCE.findall(tests)
    assert references, promise
    assert _REFERENCE.sub("", tests).strip(" ,") == "", "something that is no reference"
    for path, name in references:
        assert name in functions(TESTS / path), f"{path}::{name}"


def test_there_are_promises() -> None:
    assert len(promises()) > 30
