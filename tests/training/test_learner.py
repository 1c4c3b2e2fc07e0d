from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.architectures import build_model
from training.config import parse_config
from training.data import TokenStreams
from training.distributed import Workers
from training.learner import Learner
from training.run_state import flatten_state
from training.shards import Shard

VOCAB, ROWS = 30, 4
ALONE = Workers(0, 1, torch.device("cpu"))


def learner(tmp_path: Path, **sections: dict[str, Any]) -> Learner:
    rng = np.random.default_rng(0)
    rng.integers(VOCAB, size=4000).astype(np.uint16).tofile(tmp_path / "tokens")
    values: dict[str, dict[str, Any]] = {
        "model": {"embedding_size": 8, "hidden_sizes": [8]},
        "optimizer": {"warmup_tokens": 0},
        "loop": {
            "batch_size": ROWS,
            "bptt": 10,
            "max_tokens": 100_000,
            "precision": "float32",
            "state_reset": 0.0,
        },
    }
    for name, changes in sections.items():
        values.setdefault(name, {}).update(changes)
    config = parse_config(values)
    torch.manual_seed(0)
    model = build_model(config.model.to_model_config(VOCAB))
    data = TokenStreams(Shard(tmp_path / "tokens", None, VOCAB), ROWS, seed=0)
    return Learner(config, model, data, ALONE)


def norm_of_gradients(learner: Learner) -> float:
    gradients = [p.grad for p in learner.state.model.parameters() if p.grad is not None]
    return float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())


@pytest.mark.parametrize("clip", [1e-3, 1e-2])
def test_clipping_bounds_the_norm_and_keeps_the_direction(tmp_path: Path, clip: float) -> None:
    free = learner(tmp_path, optimizer={"clip": 1e9})
    _, norm = free.step()
    assert norm_of_gradients(free) == pytest.approx(float(norm), rel=1e-5)
    bound = learner(tmp_path, optimizer={"clip": clip})
    _, before = bound.step()
    assert float(before) == pytest.approx(float(norm), rel=1e-5), "the norm before clipping"
    assert norm_of_gradients(bound) == pytest.approx(clip, rel=1e-3)
    for one, other in zip(
        free.state.model.parameters(), bound.state.model.parameters(), strict=True
    ):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(other.grad, one.grad * clip / float(norm), rtol=1e-3, atol=1e-9)


def test_a_window_begins_with_the_state_that_the_last_one_left(tmp_path: Path) -> None:
    """Two windows with a rate of next to nothing predict like one of twice the length."""
    short = learner(tmp_path, optimizer={"lr": 1e-30})
    long = learner(tmp_path, optimizer={"lr": 1e-30}, loop={"bptt": 20})
    losses = [float(short.step()[0]) for _ in range(2)]
    assert sum(losses) / 2 == pytest.approx(float(long.step()[0]), rel=1e-5)
    for one, other in zip(
        flatten_state(short.state.carried), flatten_state(long.state.carried), strict=True
    ):
        assert torch.allclose(one, other, atol=1e-6)


def test_some_streams_begin_afresh_the_same_ones_on_any_number_of_processes(
    tmp_path: Path,
) -> None:
    one = learner(tmp_path, loop={"state_reset": 0.4})
    reset = []
    for step in range(60):
        one.state.progress.step = step
        full = one.state.carried.__class__(*(tuple(torch.ones(ROWS, 8) for _ in range(1)),) * 2)
        kept = flatten_state(one._reset_some(full))
        assert all(set(part.flatten().tolist()) <= {0.0, 1.0} for part in kept)
        assert torch.equal(kept[0], kept[1]), "h and c of a stream go together"
        reset.append((kept[0].sum(dim=1) == 0).tolist())
        one.data.mine = slice(2, 4)
        half = flatten_state(one._reset_some(type(full)(*((torch.ones(2, 8),),) * 2)))
        one.data.mine = slice(None)
        assert torch.equal(half[0], kept[0][2:4])
    assert np.mean(reset) == pytest.approx(0.4, abs=0.1)
    assert len({tuple(row) for row in reset}) > 5


def test_the_averaged_weights_are_measured(tmp_path: Path) -> None:
    subject = learner(tmp_path, averaging={"kind": "exponential"}, optimizer={"lr": 0.1})
    for _ in range(5):
        subject.step()
    averaged = subject.measure(subject.data, 500)
    subject.state.average.tensors = []
    assert subject.measure(subject.data, 500) != averaged
