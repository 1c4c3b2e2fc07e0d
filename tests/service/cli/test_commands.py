"""The commands that show a model in the terminal."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmarks.harness import SHIPPED
from service.__main__ import main
from service.language_model import LanguageModel


@pytest.mark.parametrize("command", ["serve", "score", "next-word", "generate", "chat"])
def test_each_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert "--model" in result.output


def test_next_words_come_with_their_probabilities() -> None:
    result = CliRunner().invoke(
        main, ["next-word", "She opened the", "--top", "2", "--word", "bee"]
    )
    words = [line.split()[1] for line in result.output.splitlines()]
    assert words[0] == "door"
    assert words[2] == "bee"


def test_a_seed_gives_the_text_of_the_model() -> None:
    arguments = ["generate", "It was", "--seed", "4", "--max-tokens", "12"]
    result = CliRunner().invoke(main, arguments)
    with LanguageModel.load(SHIPPED) as model:
        assert result.output == model.generate("It was", seed=4, max_tokens=12).text + "\n"
    several = CliRunner().invoke(main, [*arguments, "-n", "3"])
    assert len(several.output.splitlines()) == 3


def test_a_conversation_is_carried_by_its_state() -> None:
    result = CliRunner().invoke(main, ["chat", "--seed", "1"], input="Hello!\nWho are you?\n\n")
    with LanguageModel.load(SHIPPED) as model:
        first = model.chat([{"role": "user", "content": "Hello!"}], seed=1, return_state=True)
        asked = [{"role": "user", "content": "Who are you?"}]
        second = model.chat(asked, state=first.state, seed=1)
    said = [line[2:] for line in result.output.splitlines() if line.startswith("< ")]
    assert said == [first.text.split("\n")[0], second.text.split("\n")[0]]
