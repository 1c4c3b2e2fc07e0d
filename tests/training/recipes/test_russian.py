"""What is taken of plays, and which sources there are."""

from pathlib import Path

import pytest

from training.corpus import CorpusError
from training.recipes.recipe import Corpora
from training.recipes.russian import russian, speeches


def test_what_is_said_in_a_play_stands_without_its_speaker() -> None:
    lines = ["= Чехов Чайка =", "Медведенко. Отчего вы всегда ходите в черном?", "", "Маша. Да."]
    assert list(speeches(lines)) == ["Отчего вы всегда ходите в черном?", "Да."]


def test_a_line_with_a_stop_early_is_no_speaker_unless_it_begins_with_a_capital() -> None:
    assert list(speeches(["и ушёл. Потом вернулся.", "Что? Кто там. Я."])) == []


def test_whole_corpora_are_listed_by_role_and_none_is_trained_on_twice_by_mistake() -> None:
    parts = list(russian(Corpora(Path("data"))))
    validation = [part.name for part in parts if part.role == "valid"]
    assert validation
    assert all("valid" in name for name in validation)
    assert not any("test" in part.name for part in parts)
    trained = [(part.name, part.options) for part in parts if part.role == "train"]
    assert len(set(trained)) == len(trained)


def test_a_corpus_that_is_missing_is_told_when_it_is_read() -> None:
    derived = [part for part in russian(Corpora(Path("none"))) if part.lines is not None]
    assert len(derived) == 2
    for part in derived:
        with pytest.raises(CorpusError, match="none/russian"):
            list(part.lines or ())
