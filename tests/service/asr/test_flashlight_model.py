"""The adapter in flashlight-text itself: its lexicon decoder over CTC emissions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks.harness import SHIPPED
from service.asr.word_model import WordModel
from service.language_model import LanguageModel
from tests.service.asr.emissions import BLANK, LABELS, SPACE, emissions
from tests.service.asr.small_models import HashModel

decoders = pytest.importorskip(
    "flashlight.lib.text.decoder", reason="the extra flashlight is not installed"
)

from service.asr.flashlight_model import FlashlightModel  # noqa: E402

SPOKEN = "i scream for ice cream"
MISHEARD = "i screen fur iced ream"[: len(SPOKEN)]
LEXICON = sorted({*SPOKEN.split(), *MISHEARD.split()})


def build(lm: Any, lm_weight: float) -> Any:
    trie = decoders.Trie(len(LABELS), SPACE)
    for number, word in enumerate(LEXICON):
        spelled = [LABELS.index(letter) for letter in word]
        trie.insert([*spelled, SPACE], number, 0.0)
    trie.smear(decoders.SmearingMode.NONE)
    options = decoders.LexiconDecoderOptions(
        beam_size=50,
        beam_size_token=len(LABELS),
        beam_threshold=100.0,
        lm_weight=lm_weight,
        word_score=0.0,
        unk_score=float("-inf"),
        sil_score=0.0,
        log_add=False,
        criterion_type=decoders.CriterionType.CTC,
    )
    return decoders.LexiconDecoder(options, trie, lm, SPACE, BLANK, -1, [], False)


def decode(lm: Any, texts: dict[str, float], lm_weight: float) -> list[tuple[list[str], Any]]:
    logits = emissions({f"{text} ": weight for text, weight in texts.items()})
    found = build(lm, lm_weight).decode(logits.ctypes.data, *logits.shape)
    return [([LEXICON[word] for word in own.words if word >= 0], own) for own in found]


def test_a_word_at_a_time_is_the_whole_text() -> None:
    model = HashModel()
    lm = FlashlightModel(model, LEXICON)
    state, total = lm.start(False), 0.0
    for word in SPOKEN.split():
        state, score = lm.score(state, LEXICON.index(word))
        total += score
    assert total + lm.finish(state)[1] == pytest.approx(model.whole(SPOKEN.split()))


def test_a_state_is_found_again() -> None:
    model = HashModel()
    lm = FlashlightModel(model, LEXICON)
    start = lm.start(False)
    first, score = lm.score(start, 1)
    again, same = lm.score(start, 1)
    assert (first is again, score) == (True, same)
    assert model.calls == [1]
    assert lm.score(start, 2)[0] is not first


def test_the_model_decides_what_was_said() -> None:
    """Of two readings heard alike, the decoder alone takes the slightly louder, with the model
    what is English; and its score is the service's."""
    texts = {SPOKEN: 0.0, MISHEARD: 0.3}
    alone = decode(decoders.ZeroLM(), texts, 0.0)
    assert alone[0][0] != SPOKEN.split()
    with LanguageModel.load(SHIPPED) as model:
        words, best = decode(FlashlightModel(model.words, LEXICON), texts, 1.0)[0]
        assert words == SPOKEN.split()
        expected = model.score(SPOKEN).logprob
    assert best.lmScore == pytest.approx(expected, abs=1e-3)


class _Uniform:
    def start(self) -> int:
        return 0

    def advance(self, states: Sequence[int], words: Sequence[str]) -> Any:
        return [-1.0] * len(words), [state + 1 for state in states]

    def end(self, states: Sequence[int]) -> list[float]:
        return [-1.0] * len(states)


def test_every_word_and_the_end_are_scored() -> None:
    model: WordModel = _Uniform()
    for words, own in decode(FlashlightModel(model, LEXICON), {SPOKEN: 0.0, MISHEARD: 0.0}, 1.0):
        assert own.lmScore == pytest.approx(-len(words) - 1)
