from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.chat import TurnScorer, booking_share, relevance, variety
from benchmarks.harness import SHIPPED
from benchmarks.samples import TURNS, Writer
from models.chat_template import ChatTemplate
from models.checkpoint import load_checkpoint
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from training.evaluate import model_of
from training.recipes.small_talk import small_talk


def test_variety_counts_words_pairs_and_repeated_answers() -> None:
    found = variety([["a b", "a b"], ["a c", "b"]])
    assert found == {
        "distinct_1": 3 / 7,
        "distinct_2": 2 / 3,
        "repeated": 1 / 4,
        "words_an_answer": 7 / 4,
    }


def common_words(pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [float(len(set(turn.split()) & set(answer.split()))) for turn, answer in pairs]


def test_relevance_is_what_the_own_turn_says_more_than_the_others() -> None:
    turns = ["do you like tea", "the weather is bad", "who are they"]
    answers = ["i like tea", "bad weather", "nothing"]
    found = relevance(turns, [answers], common_words, lambda answer: len(answer.split()))
    # "like" and "tea" against none; "bad" and "weather" against none; none against none
    assert found["relevance"] == pytest.approx((2 / 3 + 2 / 2 + 0) / 3)
    assert found["first_of_ten"] == pytest.approx(2 / 3)
    shuffled = relevance(turns, [answers[1:] + answers[:1]], common_words, lambda _: 1)
    assert shuffled["relevance"] < 0


def test_bookings_are_found_as_words() -> None:
    assert booking_share([["I booked a table.", "I read a book club novel."], ["Hi", "a ticketed"]])
    assert booking_share([["Which books do you like?", "In short order", "Fine."]]) == 1 / 3


def test_an_answer_is_scored_after_its_turn_alone() -> None:
    checkpoint = load_checkpoint(SHIPPED)
    engine, _ = load_engine(SHIPPED, EngineOptions(device="cpu", precision="fp32"))
    template = ChatTemplate.of(checkpoint.tokenizer)
    scorer = TurnScorer(engine, template)
    pairs = [("Do you like tea?", "Yes, I do."), ("Hi", "")]
    model = model_of(checkpoint)
    for (turn, answer), found in zip(pairs, scorer(pairs), strict=True):
        spoken = scorer.tokens(answer)
        ids = [checkpoint.tokenizer.bos_id, *template.turn("user", turn), template.opening, *spoken]
        assert found == pytest.approx(sum(model.score(ids)[-len(spoken) :]), abs=1e-3)
    again = scorer(pairs)
    assert np.allclose(again, scorer(pairs))


def test_conversations_differ_by_their_number_and_by_their_system_line() -> None:
    engine, _ = load_engine(SHIPPED, EngineOptions(device="cpu"))
    writer = Writer(load_checkpoint(SHIPPED), engine)
    turns = TURNS["en"][:2]
    plain = writer.conversation(turns)
    assert [turn for turn, _ in plain] == list(turns)
    assert plain == writer.conversation(turns)
    assert plain != writer.conversation(turns, number=1)
    assert plain != writer.conversation(turns, "You take orders in a coffee bar.")


def test_no_turn_of_the_chat_is_in_the_small_talk_trained_on() -> None:
    trained = {content for turns in small_talk(3000) for _, content in turns}
    assert not trained & set(TURNS["en"])
