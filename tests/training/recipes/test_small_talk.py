"""Dialogues put together: by the seed, turn by turn, with an answer to what was asked."""

import itertools

from training.recipes.small_talk import small_talk


def test_small_talk_answers_what_was_asked() -> None:
    dialogues = list(small_talk(200))
    assert dialogues == list(small_talk(200)) != list(small_talk(200, seed=2))
    pairs = {
        (before[1], after[1])
        for turns in dialogues
        for before, after in itertools.pairwise(turns)
        if before[0] == "user"
    }
    answers = {answer for question, answer in pairs if question == "What is your name?"}
    assert answers
    assert all("name" in answer or "call" in answer for answer in answers)


def test_the_user_begins_and_the_turns_alternate() -> None:
    for turns in small_talk(50):
        assert [role for role, _ in turns] == ["user", "assistant"] * (len(turns) // 2)
        assert 4 <= len(turns) <= 18
        assert all(content for _, content in turns)
    assert list(small_talk(0)) == []
