"""Commands by name, each loaded when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from benchmarks.harness import PROJECT
from service.__main__ import main


@pytest.mark.parametrize("command", ["serve", "score", "next-word", "generate", "chat"])
def test_each_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "--model" in result.output


def test_every_command_that_is_listed_can_be_loaded() -> None:
    listed = CliRunner().invoke(main, ["--help"])
    assert listed.exit_code == 0
    names = main.list_commands(None)  # type: ignore[arg-type]
    assert {"serve", "score", "rescore", "tune", "check-config", "new-key"} <= set(names)
    for name in names:
        assert name in listed.output
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0, name


def test_a_command_that_there_is_not_is_told() -> None:
    result = CliRunner().invoke(main, ["serv"])
    assert result.exit_code == 2
    assert "serv" in result.output


def test_a_command_does_not_load_what_another_needs() -> None:
    names = "('fastapi', 'onnxruntime', 'torch', 'jiwer')"
    code = (
        "import sys; from click.testing import CliRunner; from service.__main__ import main; "
        "assert CliRunner().invoke(main, ['new-key', 'anna']).exit_code == 0; "
        f"print([name for name in {names} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
