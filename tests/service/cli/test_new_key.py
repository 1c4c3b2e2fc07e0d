"""A key and its line: the line lets the key in, and does not hold it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from service.__main__ import main
from service.keys import KeyRing


def test_the_line_lets_the_key_in_and_does_not_tell_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["new-key", "anna", "--scopes", "use,observe"])
    assert result.exit_code == 0, result.output
    line, key = result.output.splitlines()
    assert key not in line
    assert "anna" in line
    (tmp_path / "keys").write_text(line + "\n")
    (tmp_path / "keys").chmod(0o600)
    assert KeyRing((), tmp_path / "keys").num_keys == 1


def test_each_key_is_another() -> None:
    keys = {CliRunner().invoke(main, ["new-key", "a"]).output.splitlines()[1] for _ in range(3)}
    assert len(keys) == 3


def test_a_scope_that_there_is_not_is_named() -> None:
    result = CliRunner().invoke(main, ["new-key", "anna", "--scopes", "use,root"])
    assert result.exit_code == 2
    assert "root" in result.output
