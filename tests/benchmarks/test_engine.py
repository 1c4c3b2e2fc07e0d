"""What is timed in an engine, and what its timings are made to say."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.baseline import NnLstm
from benchmarks.engine import figures_of, largest_error, tasks_of, zipf_logprobs
from benchmarks.harness import Timing
from benchmarks.model_s import build_runner, random_weights
from models.config import ModelConfig

CONFIG = ModelConfig(vocab_size=600, embedding_size=16, hidden_sizes=(16, 16))


def test_every_task_runs_and_feeds_the_figures() -> None:
    weights = random_weights(CONFIG)
    runner = build_runner(CONFIG, weights, precision="int8", rows=64, threads=1)
    tasks = tasks_of(CONFIG, weights, runner, threads=1, length=2)
    for task in tasks.values():
        task()
    second = Timing(median=1.0, lower=1.0, upper=1.0)
    figures = figures_of(dict.fromkeys(tasks, second), length=2)
    required = {"step_b1_vs_nn_lstm", "step_b64_vs_nn_lstm"}
    required |= {"int8_gemm_fraction_b64", "sampling_share_b64"}
    assert required <= set(figures)
    assert figures["step_b64_tokens_per_s"] == 64
    # A third of a second a step of the loop, of which two seconds are runner and sampler.
    assert math.isclose(figures["loop_overhead_b64"], 1 / 3 - 2)


def test_a_ratio_above_one_means_that_the_engine_is_faster() -> None:
    weights = random_weights(CONFIG)
    runner = build_runner(CONFIG, weights, precision="int8", rows=64, threads=1)
    names = tasks_of(CONFIG, weights, runner, threads=1, length=2)
    second = Timing(median=1.0, lower=1.0, upper=1.0)
    timings = dict.fromkeys(names, second) | {"nn_lstm_b1": Timing(median=5.0, lower=5, upper=5)}
    timings["sampling_b64_settings"] = Timing(median=0.25, lower=0.25, upper=0.25)
    figures = figures_of(timings, length=2)
    assert figures["step_b1_vs_nn_lstm"] == 5
    assert figures["step_b64_vs_nn_lstm"] == 1
    assert figures["sampling_share_b64"] == 0.25


def test_the_runner_is_compared_with_the_baseline() -> None:
    weights = random_weights(CONFIG)
    runner = build_runner(CONFIG, weights, precision="fp32", rows=8, threads=1)
    assert largest_error(runner, NnLstm(CONFIG, weights), 8) < 1e-4
    assert largest_error(runner, NnLstm(CONFIG, random_weights(CONFIG, seed=1)), 8) > 1e-2


def test_zipf_rows_are_distributions() -> None:
    logprobs = zipf_logprobs(3, 100)
    np.testing.assert_allclose(np.exp(logprobs).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(
        np.exp(logprobs.max(axis=1) - np.sort(logprobs)[:, -2]), 2, rtol=1e-5
    )
    assert len(set(logprobs.argmax(axis=1).tolist())) == 3
