"""Sentences word by word, and mixtures of two models."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.asr.word_model import MixedModel, sentence_scores
from service.text.rescoring import mix
from tests.service.asr.small_models import HashModel

SENTENCES = [["a", "b", "c"], [], ["a"], ["c", "c"]]


@given(
    first=st.floats(-300, 0),
    second=st.floats(-300, 0),
    share=st.floats(0, 1, allow_subnormal=False),
)
def test_mix(first: float, second: float, share: float) -> None:
    plain = share * math.exp(first) + (1 - share) * math.exp(second)
    assert math.exp(mix(first, second, share)) == pytest.approx(plain, rel=1e-9)


def test_mix_of_far_apart_scores() -> None:
    assert mix(-2000.0, -1.0, 0.5) == pytest.approx(-1 + math.log(0.5))
    assert mix(-2000.0, -3000.0, 0.25) == pytest.approx(-2000 + math.log(0.25))
    assert (mix(-5.0, -1.0, 1.0), mix(-5.0, -1.0, 0.0)) == (-5.0, -1.0)


def test_sentences_side_by_side() -> None:
    model = HashModel()
    for words, scores in zip(SENTENCES, sentence_scores(model, SENTENCES), strict=True):
        assert len(scores) == len(words) + 1
        assert sum(scores) == pytest.approx(model.whole(words))
    assert model.calls == [3, 2, 1]


def test_a_mixture_word_by_word() -> None:
    first, second = HashModel(), HashModel(2)
    ours, theirs = sentence_scores(first, SENTENCES), sentence_scores(second, SENTENCES)
    mixed = sentence_scores(MixedModel(first, second, 0.3), SENTENCES)
    for a, b, found in zip(ours, theirs, mixed, strict=True):
        assert found == pytest.approx([mix(x, y, 0.3) for x, y in zip(a, b, strict=True)])


def test_a_share_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"in 0\.\.1, not 1\.5"):
        MixedModel(HashModel(), HashModel(), 1.5)
