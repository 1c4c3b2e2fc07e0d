"""The adapter in pyctcdecode itself: real beam searches over CTC emissions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from benchmarks.harness import SHIPPED
from service.asr.word_model import WordModel
from service.language_model import LanguageModel
from tests.service.asr.emissions import LABELS, emissions
from tests.service.asr.small_models import HashModel

pytest.importorskip(
    "pyctcdecode", reason="pyctcdecode is not installed (pip install --no-deps pyctcdecode pygtrie)"
)

from pyctcdecode import Alphabet, BeamSearchDecoderCTC

from service.asr.pyctcdecode_model import BatchedDecoder, PyctcdecodeModel

SPOKEN = "i scream for ice cream"
MISHEARD = "i screem fur iced beam"


@pytest.fixture(scope="module")
def words() -> Iterator[WordModel]:
    with LanguageModel.load(SHIPPED) as model:
        yield model.words


def decoder(kind: Any, lm: PyctcdecodeModel | None) -> Any:
    return kind(Alphabet.build_alphabet(list(LABELS)), lm)


def test_a_word_at_a_time_is_the_whole_text() -> None:
    model = HashModel()
    lm = PyctcdecodeModel(model, alpha=0.7, beta=1.25)
    state, total = lm.get_start_state(), 0.0
    spoken = SPOKEN.split()
    for place, word in enumerate(spoken):
        score, state = lm.score(state, word, is_last_word=place == len(spoken) - 1)
        total += score
    assert total == pytest.approx(0.7 * model.whole(spoken) + 1.25 * len(spoken))


def test_with_the_service_s_scores() -> None:
    with LanguageModel.load(SHIPPED) as model:
        lm = PyctcdecodeModel(model.words, alpha=1.0, beta=0.0)
        state, total = lm.get_start_state(), 0.0
        for word in SPOKEN.split():
            score, state = lm.score(state, word)
            total += score
        end, _ = lm.score(state, "", is_last_word=True)
        assert total + end == pytest.approx(model.score(SPOKEN).logprob, abs=1e-4)


def test_the_model_decides_what_was_said(words: WordModel) -> None:
    """Of two readings heard alike, the decoder alone takes the slightly louder, with the model
    what is English."""
    logits = emissions({SPOKEN: 0.0, MISHEARD: 0.3})
    alone = decoder(BeamSearchDecoderCTC, None).decode(logits)
    assert alone != SPOKEN
    assert decoder(BatchedDecoder, PyctcdecodeModel(words)).decode(logits) == SPOKEN


def test_beams_together_are_beams_one_by_one() -> None:
    logits = emissions({SPOKEN: 0.0, MISHEARD: 0.3}, clear=3.0)
    found = []
    calls = []
    for kind in (BeamSearchDecoderCTC, BatchedDecoder):
        model = HashModel()
        beams = decoder(kind, PyctcdecodeModel(model)).decode_beams(logits, beam_width=40)
        found.append([(beam[0], pytest.approx(beam[-1])) for beam in beams])
        calls.append(model.calls)
    assert len(found[0]) > 5
    assert found[0] == found[1]
    assert sum(calls[0]) == sum(calls[1])
    assert len(calls[1]) < len(calls[0]) / 2
    assert max(calls[1]) > 8


class _Counting:
    """A model that says how often it was asked for what."""

    def __init__(self, own: HashModel) -> None:
        self.own, self.asked = own, []  # type: ignore[var-annotated]

    def start(self) -> Any:
        return self.own.start()

    def advance(self, states: Sequence[Any], words: Sequence[str]) -> Any:
        self.asked += [(*state, word) for state, word in zip(states, words, strict=True)]
        return self.own.advance(states, words)

    def end(self, states: Sequence[Any]) -> list[float]:
        return self.own.end(states)


def test_nothing_is_asked_twice() -> None:
    model = _Counting(HashModel())
    logits = emissions({SPOKEN: 0.0, MISHEARD: 0.3}, clear=3.0)
    decoder(BatchedDecoder, PyctcdecodeModel(model)).decode(logits, beam_width=40)
    assert len(model.asked) == len(set(model.asked)) > 20


def test_words_that_are_none() -> None:
    lm = PyctcdecodeModel(HashModel(), unigrams=["ice", "cream"], unknown_offset=-7.0)
    plain = PyctcdecodeModel(HashModel())
    assert [lm.score_partial_token(own) for own in ("", "i", "crea", "x")] == [0, 0, 0, -7]
    assert plain.score_partial_token("x") == 0
    for word, offset in (("ice", 0.0), ("iced", -7.0)):
        ours, _ = lm.score(lm.get_start_state(), word)
        theirs, _ = plain.score(plain.get_start_state(), word)
        assert ours == pytest.approx(theirs + offset)
