"""Words one after another, in process: the sums of whole texts, and a beam in one step."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.harness import SHIPPED
from service.asr.word_model import sentence_scores
from service.language_model import LanguageModel

SENTENCES = [
    "the cat sat on the mat",
    "she would come another day",
    "",
    "antidisestablishmentarianism naïve 猫 don't",
    "the cat",
]


@pytest.fixture(scope="module")
def model() -> Iterator[LanguageModel]:
    with LanguageModel.load(SHIPPED) as opened:
        yield opened


def test_word_by_word_is_the_whole_text(model: LanguageModel) -> None:
    found = sentence_scores(model.words, [text.split() for text in SENTENCES])
    for text, own, score in zip(
        SENTENCES, found, model.scores(SENTENCES, detail="words"), strict=True
    ):
        assert score.words is not None
        assert own == pytest.approx([word.logprob for word in score.words], abs=1e-5), text
        assert sum(own) == pytest.approx(score.logprob, abs=1e-5)


def test_whole_sentences_at_a_time_have_the_same_bits(model: LanguageModel) -> None:
    scores = model.scores(SENTENCES, detail="words")
    assert model.words.sentences(SENTENCES) == [
        tuple(word.logprob for word in score.words or ()) for score in scores
    ]
    assert model.words.sentences([]) == []
    assert model.words.sentences(["the  cat"]) == model.words.sentences(["the cat"])


def test_a_state_can_be_advanced_twice(model: LanguageModel) -> None:
    _, (state,) = model.words.advance([model.words.start()], ["the"])
    both, _ = model.words.advance([state, state], ["cat", "dog"])
    cat, _ = model.words.advance([state], ["cat"])
    dog, _ = model.words.advance([state], ["dog"])
    assert both == cat + dog


@pytest.mark.parametrize("word", ["", "two words", " the", "line\n"])
def test_a_word_is_one_word(model: LanguageModel, word: str) -> None:
    with pytest.raises(ValueError, match="no white space"):
        model.words.advance([model.words.start()], [word])
