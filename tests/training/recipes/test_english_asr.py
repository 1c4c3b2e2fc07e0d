"""The last stage of en-asr: all of it as recognisers write, none of it from tests or held out."""

import json
from collections.abc import Iterator

import pytest

from models.spoken_text import asr_text
from training.recipes.english_asr import english_asr
from training.recipes.recipe import Part

TURNS = [
    {"role": "user", "content": "May I ask one question? The Court has held so."},
    {"role": "assistant", "content": "Yes. It has."},
]
NOVELS = [
    "= Edith Wharton: The Age of Innocence =",
    "On a January evening it was cold.",
    "= Ann Hill: A Hill =",
    "It was a fine day, and we went up! We saw nothing.",
]


class FewLines:
    """Corpora of a few lines each."""

    def lines(self, name: str) -> Iterator[str]:
        return iter([json.dumps({"turns": TURNS})] * 100 if ".jsonl" in name else NOVELS)


@pytest.fixture
def parts() -> list[Part]:
    return list(english_asr(FewLines()))  # type: ignore[arg-type]


def test_all_of_it_is_as_recognisers_write(parts: list[Part]) -> None:
    trained = [part for part in parts if part.role == "train"]
    assert len(trained) == 6
    for part in trained:
        if "asr" not in part.options.split(","):
            lines = list(part.lines or ())
            assert lines == [asr_text(line) for line in lines] != []


def test_sentences_stand_alone_and_authors_held_out_are_not_read(parts: list[Part]) -> None:
    read = {part.name: part for part in parts}
    assert "lines" in read["sentences.txt"].options
    written = list(read["sentences.txt"].lines or ())
    assert written == ["it was a fine day and we went up", "we saw nothing"]
    spoken = list(read["court-sentences.txt"].lines or ())
    assert set(spoken) == {
        "May I ask one question?",
        "The Court has held so.",
        "Yes.",
        "It has.",
    }


def test_validation_is_validation_and_tests_are_no_training(parts: list[Part]) -> None:
    assert all("valid" in part.name for part in parts if part.role == "valid")
    assert not any("test" in part.name for part in parts if part.role != "test")
    assert sum(part.role == "test" for part in parts) == 2
