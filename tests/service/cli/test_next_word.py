"""Next words as a table."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from service.__main__ import main


def test_next_words_come_with_their_probabilities() -> None:
    result = CliRunner().invoke(
        main, ["next-word", "She opened the", "--top", "2", "--word", "bee"]
    )
    words = [line.split()[1] for line in result.output.splitlines()]
    assert words[0] == "door"
    assert words[2] == "bee"


def test_a_word_that_is_none_is_told(tiny_folder: Path) -> None:
    result = CliRunner().invoke(
        main, ["next-word", "the", "--model", str(tiny_folder), "--word", "two words"]
    )
    assert result.exit_code == 1
    assert "not one word" in result.output
