"""Words as the first of a text."""

import pytest

from tests.training.small_checkpoints import random_checkpoint, small_tokenizer
from training.evaluate import model_of
from training.word_probability import word_logprobs


def test_a_words_probability_is_that_of_its_pieces_after_the_beginning() -> None:
    model, tokenizer = model_of(random_checkpoint()), small_tokenizer()
    words = ["river", "some", "zebra"]
    for word, found in zip(words, word_logprobs(model, tokenizer, words), strict=True):
        ids = [tokenizer.bos_id, *tokenizer.encode(word)]
        assert found == pytest.approx(sum(model.score(ids)), abs=1e-4)
    assert word_logprobs(model, tokenizer, []) == []
