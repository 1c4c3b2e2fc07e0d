"""The GPU's kernel: its logic with torch on the CPU, and everything on a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.config import ModelConfig
from service.engine.request import Floats
from service.engine.runners.torch_runner import TorchRunner
from tests.service.engine.small_models import SHAPES, Oracle, random_weights

MAX_ROWS = 7
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())


def build(config: ModelConfig, device: str, max_rows: int = MAX_ROWS) -> TorchRunner:
    return TorchRunner(config, random_weights(config), device=device, max_rows=max_rows)


def random_ids(config: ModelConfig, *shape: int) -> NDArray[np.int64]:
    return np.random.default_rng(5).integers(config.vocab_size, size=shape)


def results(runner: TorchRunner, ids: NDArray[np.int64], states: Floats) -> Floats:
    """New states and log-probabilities of rows that all take a step together."""
    for row, state in enumerate(states):
        runner.write_states(row, [state])
    runner.step(ids)
    after = np.stack([runner.read_state(row) for row in range(len(ids))])
    return np.concatenate([after, runner.logprobs(np.arange(len(ids)))], axis=1)


def some_states(runner: TorchRunner, count: int) -> Floats:
    """States after a few tokens, different ones in each row."""
    states = []
    for ids in random_ids(runner.config, count, 4):
        runner.write_states(0, [None])
        for token in ids:
            runner.step(np.array([token]))
        states.append(runner.read_state(0))
    return np.stack(states)


@shapes
@devices
def test_numbers_agree_with_the_equations(config: ModelConfig, device: str) -> None:
    runner, oracle = build(config, device), Oracle(config, random_weights(config))
    sequences = random_ids(config, 3, 40)
    histories = [oracle.read(ids.tolist()) for ids in sequences]
    for row in range(3):
        runner.write_states(row, [None])
    for t in range(40):
        runner.step(sequences[:, t])
        logprobs = runner.logprobs(np.arange(3))
        for row, history in enumerate(histories):
            assert np.abs(runner.read_state(row) - history.states[t + 1]).max() < 1e-5
            assert np.abs(logprobs[row] - history.logprobs[t + 1]).max() < 1e-5


@shapes
@devices
def test_a_rows_bits_are_the_same_in_every_batch(config: ModelConfig, device: str) -> None:
    """Alone, and in a batch of every size; a kernel may still depend on the row's position."""
    runner = build(config, device)
    ids, states = random_ids(config, MAX_ROWS), some_states(runner, MAX_ROWS)
    alone = np.concatenate([results(runner, ids[[k]], states[[k]]) for k in range(MAX_ROWS)])
    for size in range(2, MAX_ROWS + 1):
        rows = np.roll(np.arange(MAX_ROWS), size)[:size]
        assert np.array_equal(results(runner, ids[rows], states[rows]), alone[rows])


@shapes
@devices
def test_all_ways_to_the_distribution_agree(config: ModelConfig, device: str) -> None:
    runner = build(config, device)
    states = some_states(runner, 4)
    for row, state in enumerate(states):
        runner.write_states(row, [state])
    logprobs = runner.logprobs(np.arange(4))
    assert np.array_equal(runner.logprobs(np.array([3, 1])), logprobs[[3, 1]])
    for row in range(4):
        assert np.array_equal(runner.logprobs_of_state(states[row]), logprobs[row])
        assert np.array_equal(runner.read_state(row), states[row])  # a row was borrowed, put back
    runner.logprobs(np.arange(4))
    logits = runner.logits().copy()
    runner.logprobs(np.array([3, 1]))
    assert np.array_equal(runner.logits(), logits[[3, 1]])
    normalised = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    assert normalised == pytest.approx(logprobs, abs=1e-5)


@devices
def test_rows_are_written_read_and_copied_whole(device: str) -> None:
    runner = build(SHAPES["skips"], device)
    states = some_states(runner, 3)
    for row, state in enumerate(states):
        runner.write_states(row, [state])
    runner.move_rows([2], [0])
    assert np.array_equal(runner.read_state(0), states[2])
    assert np.array_equal(runner.read_state(1), states[1])
    runner.write_states(1, [None])
    assert not runner.read_state(1).any()


@devices
def test_what_was_read_is_a_copy(device: str) -> None:
    runner = build(SHAPES["tied"], device)
    runner.write_states(0, [None])
    before, logprobs = runner.read_state(0), runner.logprobs(np.array([0]))
    kept = logprobs.copy()
    runner.step(np.array([3]))
    runner.logprobs(np.array([0]))
    assert not before.any()
    assert np.array_equal(logprobs, kept)


def test_other_networks_are_refused() -> None:
    config = ModelConfig(architecture="elman", vocab_size=9, embedding_size=4, hidden_sizes=(4,))
    with pytest.raises(ValueError, match="elman"):
        build(config, "cpu")
