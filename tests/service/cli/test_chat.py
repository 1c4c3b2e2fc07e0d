"""A conversation in the terminal: that of the model, carried by its state."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from benchmarks.harness import SHIPPED
from service.__main__ import main
from service.language_model import LanguageModel


def test_a_conversation_is_carried_by_its_state() -> None:
    result = CliRunner().invoke(main, ["chat", "--seed", "1"], input="Hello!\nWho are you?\n\n")
    with LanguageModel.load(SHIPPED) as model:
        first = model.chat([{"role": "user", "content": "Hello!"}], seed=1, return_state=True)
        asked = [{"role": "user", "content": "Who are you?"}]
        second = model.chat(asked, state=first.state, seed=1)
    said = [line[2:] for line in result.output.splitlines() if line.startswith("< ")]
    assert said == [first.text.split("\n")[0], second.text.split("\n")[0]]


def test_a_model_that_was_not_taught_to_chat_is_told(tiny_folder: Path) -> None:
    result = CliRunner().invoke(main, ["chat", "--model", str(tiny_folder)], input="Hello!\n")
    assert result.exit_code == 1
    assert "was not trained for chat" in result.output


def test_an_empty_line_ends_it_before_it_began(tiny_folder: Path) -> None:
    result = CliRunner().invoke(main, ["chat", "--model", str(tiny_folder)], input="\n")
    assert result.exit_code == 0
    assert "<" not in result.output.replace("<tiny", "")
