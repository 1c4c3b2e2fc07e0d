"""The baseline computes the model: its figures would mean nothing otherwise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.baseline import NnLstm, State
from benchmarks.model_s import random_weights
from models.config import ModelConfig
from models.lstm import LSTMLanguageModel

CONFIG = ModelConfig(vocab_size=40, embedding_size=8, hidden_sizes=(8, 8))
WEIGHTS = random_weights(CONFIG)
BASELINE = NnLstm(CONFIG, WEIGHTS)


@pytest.fixture(scope="module")
def oracle() -> LSTMLanguageModel:
    model = LSTMLanguageModel(CONFIG)
    model.load_state_dict({name: torch.from_numpy(w) for name, w in WEIGHTS.items()})
    return model


def test_steps_are_the_oracles(oracle: LSTMLanguageModel) -> None:
    text = [3, 1, 4, 1, 5, 9, 2, 6]
    state: State | None = None
    scores = []
    for token, following in pairwise(text):
        logprobs, state = BASELINE.step(torch.tensor([token]), state)
        scores.append(float(logprobs[0, following]))
    np.testing.assert_allclose(scores, oracle.score(text), atol=1e-5)


def test_batch_scores_are_the_oracles(oracle: LSTMLanguageModel) -> None:
    texts = np.random.default_rng(0).integers(40, size=(70, 6))  # two softmax batches
    found = BASELINE.score(torch.from_numpy(texts)).numpy()
    expected = [oracle.score(text) for text in texts.tolist()]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 39), min_size=2, max_size=9), min_size=1, max_size=70))
def test_padding_changes_nothing(texts: list[list[int]]) -> None:
    found = BASELINE.score_padded(texts)
    assert [len(scores) for scores in found] == [len(text) - 1 for text in texts]
    for text, scores in zip(texts, found, strict=True):
        np.testing.assert_allclose(scores, BASELINE.score(torch.tensor([text]))[0], atol=1e-5)
