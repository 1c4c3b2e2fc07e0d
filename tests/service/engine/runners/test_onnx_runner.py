"""The CPU kernel against the oracle, and rows that know nothing of each other, to the last bit."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from models.config import ModelConfig
from service.engine.request import Floats
from service.engine.runners.onnx_graph import Arithmetic, input_table
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.small_models import SHAPES, Oracle, random_weights

MAX_ROWS = 9
ARITHMETICS: tuple[Arithmetic, ...] = ("fp32", "int8")

shapes = pytest.mark.parametrize("config", SHAPES.values(), ids=SHAPES.keys())
arithmetics = pytest.mark.parametrize("arithmetic", ARITHMETICS)


def build(
    config: ModelConfig,
    arithmetic: Arithmetic = "fp32",
    max_rows: int = MAX_ROWS,
    threads: int = 1,
    table: Floats | None = None,
) -> OnnxRunner:
    weights = random_weights(config)
    return OnnxRunner(
        config, weights, arithmetic=arithmetic, max_rows=max_rows, threads=threads, table=table
    )


def random_ids(config: ModelConfig, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng(5).integers(config.vocab_size, size=shape)


def some_states(runner: OnnxRunner, count: int) -> Floats:
    """States as they come up: after a few tokens, different ones in each row."""
    states = []
    for ids in random_ids(runner.config, count, 4):
        runner.write_states(0, [None])
        for token in ids:
            runner.step(np.array([token]))
        states.append(runner.read_state(0))
    return np.stack(states)


def results(
    runner: OnnxRunner, ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]], states: Floats
) -> Floats:
    """New states and log-probabilities of rows that all take a step together."""
    for row, state in enumerate(states):
        runner.write_states(row, [state])
    runner.step(ids)
    rows = np.arange(len(ids))
    after = np.stack([runner.read_state(row) for row in range(len(ids))])
    return np.concatenate([after, runner.logprobs(rows)], axis=1)


def errors(config: ModelConfig, arithmetic: Arithmetic) -> tuple[Floats, Floats]:
    """Absolute errors of chosen tokens' ln P and of states, along sequences of 60 tokens."""
    runner, oracle = build(config, arithmetic), Oracle(config, random_weights(config))
    sequences = random_ids(config, 4, 60)
    histories = [oracle.read(ids.tolist()) for ids in sequences]
    of_logprobs, of_states = [], []
    for row in range(len(sequences)):
        runner.write_states(row, [None])
    for t in range(sequences.shape[1]):
        runner.step(sequences[:, t])
        logprobs = runner.logprobs(np.arange(len(sequences)))
        for row, history in enumerate(histories):
            of_states.append(np.abs(runner.read_state(row) - history.states[t + 1]))
            of_logprobs.append(np.abs(logprobs[row] - history.logprobs[t + 1]))
    return np.stack(of_logprobs), np.stack(of_states)


@shapes
def test_fp32_agrees_with_the_equations(config: ModelConfig) -> None:
    of_logprobs, of_states = errors(config, "fp32")
    assert of_logprobs.max() < 1e-5
    assert of_states.max() < 1e-5


@shapes
def test_int8_stays_near_the_equations(config: ModelConfig) -> None:
    of_logprobs, _ = errors(config, "int8")
    assert of_logprobs.mean() < 1e-2
    assert of_logprobs.max() < 6e-2


@shapes
@arithmetics
def test_a_rows_bits_are_the_same_in_every_batch(
    config: ModelConfig, arithmetic: Arithmetic
) -> None:
    """Alone in row 0, and at every position of a batch of every size."""
    runner = build(config, arithmetic)
    ids, states = random_ids(config, MAX_ROWS), some_states(runner, MAX_ROWS)
    alone = np.concatenate([results(runner, ids[[k]], states[[k]]) for k in range(MAX_ROWS)])
    for size, turn in product(range(2, MAX_ROWS + 1), range(MAX_ROWS)):
        rows = np.roll(np.arange(MAX_ROWS), turn)[:size]
        assert np.array_equal(results(runner, ids[rows], states[rows]), alone[rows])


@arithmetics
def test_a_kernel_that_depends_on_the_batch_size_always_has_a_full_batch(
    arithmetic: Arithmetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SHAPES["skips"]
    usual = build(config, arithmetic)
    ids, states = random_ids(config, MAX_ROWS), some_states(usual, MAX_ROWS)
    expected = results(usual, ids, states)
    usual.logprobs(np.arange(MAX_ROWS))
    logits = usual.logits().copy()
    monkeypatch.setattr(OnnxRunner, "_rows_are_independent", lambda _: False)
    padded = build(config, arithmetic)
    assert padded._fixed_batch
    sizes, run = set(), padded._run

    def counting(name: str, count: int) -> None:
        sizes.add(count)
        run(name, count)

    monkeypatch.setattr(padded, "_run", counting)
    for size in range(1, MAX_ROWS + 1):
        assert np.array_equal(results(padded, ids[:size], states[:size]), expected[:size])
    padded.logprobs(np.arange(MAX_ROWS))
    assert np.array_equal(padded.logits(), logits)
    assert np.array_equal(padded.logprobs_of_state(states[4]), usual.logprobs_of_state(states[4]))
    assert sizes == {MAX_ROWS}


def test_dependence_on_the_batch_size_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load-time check itself: a kernel that rounds otherwise in a batch of three."""
    run = OnnxRunner._run

    def rounding_otherwise(self: OnnxRunner, name: str, count: int) -> None:
        run(self, name, count)
        if name == "head" and count == 3:
            self._buffers["logprobs"][1] = np.nextafter(self._buffers["logprobs"][1], 0)

    monkeypatch.setattr(OnnxRunner, "_run", rounding_otherwise)
    assert build(SHAPES["tied"])._fixed_batch


@shapes
@arithmetics
def test_a_state_read_and_written_elsewhere_goes_on_with_the_same_bits(
    config: ModelConfig, arithmetic: Arithmetic
) -> None:
    runner = build(config, arithmetic)
    ids, states = random_ids(config, 2, 10), some_states(runner, 2)
    whole = []
    for row in range(2):
        runner.write_states(row, [states[row]])
    for t in range(10):
        runner.step(ids[:, t])
        whole.append(np.stack([runner.read_state(0), runner.read_state(1)]))
    for t in range(9):
        runner.write_states(1, [whole[t][0]])
        runner.write_states(0, [whole[t][1]])
        for later in range(t + 1, 10):
            runner.step(ids[::-1, later].copy())
            swapped = np.stack([runner.read_state(1), runner.read_state(0)])
            assert np.array_equal(swapped, whole[later])


@shapes
def test_rows_are_written_read_and_copied_whole(config: ModelConfig) -> None:
    runner = build(config)
    states = some_states(runner, 3)
    for row, state in enumerate(states):
        runner.write_states(row, [state])
    runner.move_rows([2], [0])
    assert np.array_equal(runner.read_state(0), states[2])
    assert np.array_equal(runner.read_state(1), states[1])
    assert np.array_equal(runner.read_state(2), states[2])
    runner.write_states(1, [None])
    assert not runner.read_state(1).any()


def test_a_state_that_was_read_is_a_copy() -> None:
    runner = build(SHAPES["tied"])
    runner.write_states(0, [None])
    before = runner.read_state(0)
    runner.step(np.array([3]))
    assert not before.any()


@shapes
@arithmetics
def test_all_ways_to_the_distribution_agree(config: ModelConfig, arithmetic: Arithmetic) -> None:
    """Rows in any order, a state that is in no row, and logits up to their normalisation."""
    runner = build(config, arithmetic)
    states = some_states(runner, 4)
    for row, state in enumerate(states):
        runner.write_states(row, [state])
    logprobs = runner.logprobs(np.arange(4)).copy()
    assert np.exp(logprobs.astype(np.float64)).sum(axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert np.array_equal(runner.logprobs(np.array([3, 1])), logprobs[[3, 1]])
    for row in range(4):
        assert np.array_equal(runner.logprobs_of_state(states[row]), logprobs[row])
        assert runner.logits().shape == (1, config.vocab_size)
    runner.logprobs(np.arange(4))
    logits = runner.logits().copy()
    runner.logprobs(np.array([3, 1]))
    assert np.array_equal(runner.logits(), logits[[3, 1]])
    normalised = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    assert normalised == pytest.approx(logprobs, abs=1e-5)


def test_what_the_caller_scribbles_is_gone_with_the_next_call() -> None:
    runner = build(SHAPES["tied"])
    runner.write_states(0, [some_states(runner, 1)[0]])
    before = runner.logprobs(np.array([0])).copy()
    runner.logprobs(np.array([0]))[:] = -np.inf
    assert np.array_equal(runner.logprobs(np.array([0])), before)


@arithmetics
def test_two_threads_give_the_bits_of_one(arithmetic: Arithmetic) -> None:
    config = ModelConfig(vocab_size=1500, embedding_size=96, hidden_sizes=(160, 96))
    one, two = (build(config, arithmetic, threads=threads) for threads in (1, 2))
    ids, states = random_ids(config, MAX_ROWS), some_states(one, MAX_ROWS)
    for size in (1, 2, MAX_ROWS):
        first, second = (results(runner, ids[:size], states[:size]) for runner in (one, two))
        assert np.array_equal(first, second)


@arithmetics
def test_a_table_from_elsewhere_changes_nothing(arithmetic: Arithmetic) -> None:
    config = SHAPES["tied"]
    own = build(config, arithmetic)
    given = build(config, arithmetic, table=input_table(random_weights(config)))
    ids, states = random_ids(config, 3), some_states(own, 3)
    assert np.array_equal(results(own, ids, states), results(given, ids, states))


@arithmetics
def test_a_single_row_is_enough(arithmetic: Arithmetic) -> None:
    config = SHAPES["tied"]
    many, one = build(config, arithmetic), build(config, arithmetic, max_rows=1)
    ids, states = random_ids(config, 1), some_states(many, 1)
    assert np.array_equal(results(many, ids, states), results(one, ids, states))


@shapes
def test_int8_steps_are_powers_of_two_over_127(config: ModelConfig) -> None:
    """So coarse that the last bits of the calibration, which differ by machine, cannot matter."""
    scales = build(config, "int8")._scales
    for scale in (*scales.hidden, *scales.inputs[1:]):
        mantissa, _ = np.frexp(scale * 127)
        assert mantissa == 0.5
    assert max(scales.hidden) <= 1 / 127  # no |h| passes 1


def test_other_networks_are_refused() -> None:
    config = ModelConfig(architecture="elman", vocab_size=9, embedding_size=4, hidden_sizes=(4,))
    with pytest.raises(ValueError, match="elman"):
        build(config)
