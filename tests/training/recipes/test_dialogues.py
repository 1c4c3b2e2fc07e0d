import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.recipes.dialogues import (
    MAX_WORDS,
    MIN_TURNS,
    Turns,
    alternate,
    clean_chat,
    dump,
    parse,
    share_of,
    spoken_turns,
    swapped,
    tagged,
    tidy,
)

TALK = ["Do you like tea?", "Yes, I do.", "So do I.", "It is good."]


def contents(dialogues: list[Turns]) -> list[list[str]]:
    return [[content for _, content in turns] for turns in dialogues]


def test_dialogues_come_back_as_they_were_written() -> None:
    dialogues = [alternate(TALK), [("system", "é"), ("user", "Hi")]]
    lines = list(dump(dialogues))
    assert list(parse([*lines, ""])) == dialogues
    assert "é" in lines[1]
    assert json.loads(lines[0])["turns"][1] == {"role": "assistant", "content": "Yes, I do."}


def test_a_share_is_spread_evenly_and_tagged_by_the_seed() -> None:
    dialogues = [alternate([str(n)]) for n in range(100)]
    assert [int(t[0][1]) for t in share_of(dialogues, 0.25)] == list(range(3, 100, 4))
    lines = ("one", "two")
    some = list(tagged(dialogues, lines, share=0.5))
    system = [turns[0][1] for turns in some if turns[0][0] == "system"]
    assert 30 < len(system) < 70
    assert set(system) == set(lines)
    assert some == list(tagged(dialogues, lines, share=0.5))
    assert all(turns[0][0] == "system" for turns in tagged(dialogues, lines))


def test_swapped_talk_begins_with_the_other_speaker() -> None:
    assert list(swapped([alternate(TALK), alternate(TALK[:3])])) == [
        [("user", "Yes, I do."), ("assistant", "So do I."), ("user", "It is good.")]
    ]


def test_turns_as_lines() -> None:
    assert list(spoken_turns([alternate(["a", "", "b"])])) == ["a", "b"]


@pytest.mark.parametrize(
    "fault",
    [
        "hello?",
        "Are you still there?",
        "Is this a bot?",
        "I do this for the chat challenge",
        "what the fuck",
        "so " * (MAX_WORDS + 1),
        "",
    ],
)
def test_a_bad_turn_cuts_a_chat_in_two(fault: str) -> None:
    (first, second) = contents(list(clean_chat([alternate([*TALK, fault, *TALK])])))
    assert first == TALK
    assert second[-4:] == TALK


def test_a_question_answered_with_nothing_ends_a_stretch() -> None:
    turns = [*TALK, "And coffee?", "haha", *TALK]
    assert contents(list(clean_chat([alternate(turns)]))) == [
        [*TALK, "And coffee?"],
        ["haha", *TALK],
    ]
    assert contents(list(clean_chat([alternate([*TALK, "Good.", "haha", "Bye."])]))) == [
        [*TALK, "Good.", "haha", "Bye."]
    ]


@given(st.lists(st.sampled_from([*TALK, "hello", "lol", "Sure?", "bot", ""]), max_size=20))
def test_stretches_are_long_alternate_and_in_order(turns: list[str]) -> None:
    cleaned = list(clean_chat([alternate(turns)]))
    left = iter(turns)
    for stretch in cleaned:
        assert len(stretch) >= MIN_TURNS
        assert stretch == alternate(content for _, content in stretch)
        assert all(content in left for _, content in stretch)


def test_laughter_and_rows_of_marks_are_shortened() -> None:
    assert tidy("Hahahahahaha  nooooooo!!!! why??? hmm......") == "haha no! why? hmm..."
    assert tidy("I haven't had... a good-looking book, 1000 times") == (
        "I haven't had... a good-looking book, 1000 times"
    )
