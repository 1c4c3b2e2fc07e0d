"""KenLM as a word model and as a scorer of lists, on an n-gram estimated here."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.kneser_ney import estimate
from service.asr.scoring import ListScorer
from service.asr.word_model import sentence_scores
from tests.service.asr.made_up_lists import made_up_lists

pytest.importorskip("kenlm", reason="the extra kenlm is not installed")

from service.asr.kenlm_model import KenlmModel

SENTENCES = ["a b c", "b a", "", "c unheard a"]


@pytest.fixture
def model(tmp_path: Path) -> KenlmModel:
    path = tmp_path / "lm.arpa"
    with path.open("w") as file:
        estimate([list("abcab"), list("cab"), list("acb"), list("bca")] * 2, 3).write_arpa(file)
    return KenlmModel(path)


def test_word_by_word_is_the_whole_sentence(model: KenlmModel) -> None:
    found = sentence_scores(model, [own.split() for own in SENTENCES])
    for text, own in zip(SENTENCES, found, strict=True):
        assert own == pytest.approx(model.word_scores(text), abs=1e-5)
        assert all(score < 0 for score in own)
    assert (model.order, model.knows("a"), model.knows("unheard")) == (3, True, False)


def test_lists_get_its_word_scores(model: KenlmModel) -> None:
    lists = made_up_lists(3, model_knows=1.0)
    for before, after in zip(lists, ListScorer(None, model).score(lists), strict=True):
        for old, new in zip(before.hypotheses, after.hypotheses, strict=True):
            assert list(new.word_scores["ngram"]) == model.word_scores(old.text)
            assert new.word_scores["model"] == old.word_scores["model"]


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text("hello\n")
    with pytest.raises(ValueError, match=r"lm\.arpa is no n-gram model"):
        KenlmModel(tmp_path / "lm.arpa")
