"""Requests through an engine, and what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.baseline import NnLstm
from benchmarks.driving import run, scored_prompts
from benchmarks.model_s import build_runner, new_engine, random_weights
from benchmarks.streams import stream_requests
from models.config import ModelConfig
from service.engine.request import SamplingParams
from service.engine.runners.base import ModelRunner

CONFIG = ModelConfig(vocab_size=64, embedding_size=16, hidden_sizes=(16, 16))


@pytest.fixture(scope="module")
def runner() -> ModelRunner:
    return build_runner(CONFIG, random_weights(CONFIG), precision="fp32", rows=8, threads=1)


def test_scores_come_back_in_the_order_of_the_prompts(runner: ModelRunner) -> None:
    draw = np.random.default_rng(0)
    requests = [draw.integers(64, size=(count, 5)).tolist() for count in (3, 1, 12)]
    found = scored_prompts(new_engine(runner), requests)
    model = NnLstm(CONFIG, random_weights(CONFIG))
    for prompts, scores in zip(requests, found, strict=True):
        assert all(np.isnan(own[0]) for own in scores)
        expected = model.score(torch.tensor(prompts)).numpy()
        np.testing.assert_allclose(np.stack(scores)[:, 1:], expected, atol=1e-5)


def test_a_failed_request_is_an_error(runner: ModelRunner) -> None:
    sampling = SamplingParams(suppressed_token_ids=tuple(range(64)))
    with pytest.raises(RuntimeError, match="request 0 failed"):
        run(new_engine(runner), stream_requests([[1]], sampling))
