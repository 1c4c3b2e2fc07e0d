"""The mixture of en-small: what is held out of it, and that no test text is in it."""

import json
from collections.abc import Iterator

import pytest

from training.recipes.english import HELD_OUT_AUTHORS, HELD_OUT_WORKS, english
from training.recipes.recipe import Part

TURNS = [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Yes"}]
DIALOGUE = json.dumps({"turns": TURNS})
NOVELS = [
    "= Edith Wharton: The Age of Innocence =",
    "On a January evening it was cold.",
    "= E. Nesbit: The Railway Children =",
    "They were not railway children to begin with.",
    "= Anthony Hope: The Prisoner of Zenda =",
    "I wonder when in the world you will do anything.",
    "= Ann Hill: A Hill =",
    "It was a fine day on the hill and we went up.",
]


class FewLines:
    """Corpora of a few lines each; read: which files were asked for."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def lines(self, name: str) -> Iterator[str]:
        self.read.append(name)
        return iter([DIALOGUE] * 20 if name.endswith(".jsonl.xz") else NOVELS)


@pytest.fixture(scope="module")
def parts() -> dict[tuple[str, str], Part]:
    corpora = FewLines()
    found = list(english(corpora))  # type: ignore[arg-type]
    return {(part.role, f"{part.name}@{part.options}"): part for part in found}


def test_no_part_is_there_twice_and_no_test_file_is_trained_on(
    parts: dict[tuple[str, str], Part],
) -> None:
    assert len(parts) > 30
    for (role, _), part in parts.items():
        if role != "test":
            assert "test" not in part.name
        if role == "valid" and part.lines is None:
            assert "valid" in part.name


def test_authors_that_are_held_out_are_in_no_training_text(
    parts: dict[tuple[str, str], Part],
) -> None:
    for (role, _), part in parts.items():
        if role == "train" and part.name in ("english-novels.txt", "english-fiction-2.txt"):
            kept = list(part.lines or ())
            assert kept == NOVELS[-2:]
            assert not any(HELD_OUT_AUTHORS.search(line) for line in kept)


def test_each_held_out_author_has_a_work_as_a_test(parts: dict[tuple[str, str], Part]) -> None:
    for number, author in enumerate(HELD_OUT_WORKS):
        lines = parts["test", f"held-out/{author}.txt@"].lines
        assert list(lines or ()) == [NOVELS[2 * number + 1]]
