"""Many steps at once have the bits of single steps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.config import ModelConfig
from service.engine.request import Floats
from service.engine.runners.onnx_graph import Arithmetic
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.small_models import SHAPES, random_weights

shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())


@shapes
@pytest.mark.parametrize("arithmetic", ["fp32", "int8"])
@pytest.mark.parametrize("max_rows", [2, 40])
def test_a_sequence_has_the_bits_of_its_steps(
    config: ModelConfig, arithmetic: Arithmetic, max_rows: int
) -> None:
    """States, features and log-probabilities after every token, from some state on."""
    runner = OnnxRunner(config, random_weights(config), arithmetic=arithmetic, max_rows=max_rows)
    size = runner.sequence_length
    assert 0 < size <= max_rows
    ids = np.random.default_rng(2).integers(config.vocab_size, size=(2, size))
    neighbour = np.random.default_rng(3).random(runner.layout.size, np.float32)
    states, logprobs = [], []
    runner.write_states(0, [None])
    for token in ids.ravel():
        runner.step(np.array([token]))
        states.append(runner.read_state(0))
        logprobs.append(runner.logprobs(np.array([0]))[0].copy())
    features = np.stack(states)[:, runner.layout.slices()["features"]]
    runner.write_states(0, [neighbour])
    runner.write_states(1, [None])
    for part in range(2):
        here = slice(part * size, (part + 1) * size)
        found = runner.run_sequence(1, ids[part]).copy()
        assert np.array_equal(found, features[here])
        assert np.array_equal(runner.read_state(1), states[here][-1])
        assert np.array_equal(runner.logprobs_of_features(found), np.stack(logprobs[here]))
    assert np.array_equal(runner.read_state(0), neighbour)


def test_a_part_of_the_length_is_allowed() -> None:
    config = SHAPES["tied"]
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=40)
    ids = np.array([4, 5, 6])
    runner.write_states(0, [None])
    for token in ids:
        runner.step(np.array([token]))
    runner.write_states(1, [None])
    runner.run_sequence(1, ids)
    assert np.array_equal(runner.read_state(0), runner.read_state(1))


def test_kernels_that_depend_on_the_batch_size_take_single_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sequence's products have as many rows as tokens, which only equals a full batch by luck."""
    monkeypatch.setattr(OnnxRunner, "_rows_are_independent", lambda _: False)
    config = SHAPES["tied"]
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=40)
    assert runner.sequence_length == 0


def test_a_sequence_of_other_bits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load-time check itself, with features that round otherwise."""
    run_sequence = OnnxRunner.run_sequence

    def rounding_otherwise(self: OnnxRunner, row: int, ids: NDArray[np.int64]) -> Floats:
        features = run_sequence(self, row, ids).copy()
        features[-1, 0] = np.nextafter(features[-1, 0], 2)
        return features

    monkeypatch.setattr(OnnxRunner, "run_sequence", rounding_otherwise)
    config = SHAPES["tied"]
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=40)
    assert runner.sequence_length == 0
