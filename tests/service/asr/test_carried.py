"""Running speech: each list stands behind the best of those before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.asr.carried import carry_context
from service.asr.hypotheses import MODEL, Hypothesis, NBestList
from service.asr.ranking import Ranker
from service.asr.settings import RescoringSettings
from service.language_model import LanguageModel

LISTS = [
    NBestList(
        id="a",
        hypotheses=(Hypothesis(text="the cat", score=9), Hypothesis(text="A dog", score=0)),
    ),
    NBestList(id="nothing", hypotheses=()),
    NBestList(id="b", hypotheses=(Hypothesis(text="sat"), Hypothesis(text="ran away"))),
]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Iterator[LanguageModel]:
    with LanguageModel.load(tiny_folder, precision="fp32", max_num_seqs=8) as opened:
        yield opened


@pytest.mark.parametrize(("form", "before"), [("as-is", "the cat\n"), ("cased", "The cat.\n")])
def test_scores_are_those_behind_the_best_texts_before(
    model: LanguageModel, form: str, before: str
) -> None:
    ranker = Ranker(RescoringSettings(lm_weight=0.01))
    found = list(carry_context(model, LISTS, ranker, form))  # type: ignore[arg-type]
    assert [own.id for own in found] == ["a", "nothing", "b"]
    assert found[0].hypotheses[0].text == "the cat"
    state = model.state(before)
    for own in found[2].hypotheses:
        asked = own.text if form == "as-is" else own.text.capitalize() + "."
        words = model.score(asked, state=state, detail="words").words
        assert words is not None
        assert own.word_scores[MODEL] == pytest.approx([w.logprob for w in words], abs=1e-5)
