"""Texts in the terminal: those of the model under the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.harness import SHIPPED
from service.__main__ import main
from service.language_model import LanguageModel


def test_a_seed_gives_the_text_of_the_model() -> None:
    arguments = ["generate", "It was", "--seed", "4", "--max-tokens", "12"]
    result = CliRunner().invoke(main, arguments)
    with LanguageModel.load(SHIPPED) as model:
        assert result.output == model.generate("It was", seed=4, max_tokens=12).text + "\n"
    several = CliRunner().invoke(main, [*arguments, "-n", "3"])
    assert len(several.output.splitlines()) == 3


def test_stop_strings_end_a_text_and_line_breaks_of_several_are_spelled(tiny_folder: Path) -> None:
    arguments = ["generate", "the", "--model", str(tiny_folder), "--seed", "1", "-n", "3"]
    result = CliRunner().invoke(main, [*arguments, "--max-tokens", "40", "--stop", "e"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 3
    assert "e" not in result.output


@pytest.mark.parametrize(
    "arguments", [["--temperature", "3"], ["--top-p", "-1"], ["--max-tokens", "0"]]
)
def test_values_out_of_their_range_name_the_option(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, ["generate", "the", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.output
