"""When the loop validates, saves, warns and stops; the learning itself is tested elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.architectures import build_model
from models.config import ModelConfig
from training.config import with_overrides
from training.data import TokenStreams
from training.distributed import Workers
from training.learner import Learner
from training.publish import Publisher
from training.shards import Shard
from training.trainer import Trainer

SETS = (
    "loop.batch_size=2",
    "loop.bptt=4",
    "loop.max_tokens=160",  # 20 steps
    "loop.precision=float32",
    "optimizer.warmup_tokens=0",
)
Make = Callable[..., Trainer]


class RecordingPublisher(Publisher):
    """Remembers at which step it was given a model."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def save(self, model: Any, progress: Any) -> None:  # noqa: ARG002
        self.steps.append(progress.step)

    def add_curves(self, png: Path) -> None: ...


@pytest.fixture
def make(tmp_path: Path) -> Make:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(20, (400,), generator=draw).numpy().astype("uint16")
    (tmp_path / "t.tokens").write_bytes(ids.tobytes())

    def trainer(*sets: str) -> Trainer:
        config = with_overrides({}, [*SETS, *sets])
        torch.manual_seed(0)
        model = build_model(ModelConfig(vocab_size=20, embedding_size=6, hidden_sizes=(6,)))
        shard = Shard(tmp_path / "t.tokens", None, 20)
        workers = Workers(0, 1, torch.device("cpu"))
        data = TokenStreams(shard, 2, seed=1)
        learner = Learner(config, model, data, workers)
        valid = TokenStreams(shard, 1, seed=0)
        return Trainer(learner, valid, RecordingPublisher(), tmp_path / "run")

    return trainer


def test_a_run_validates_every_so_many_tokens_and_at_its_end(make: Make) -> None:
    trainer = make("loop.eval_tokens=64")
    outcome = trainer.run()
    assert (outcome.reason, outcome.progress.tokens) == ("finished", 160)
    assert len(outcome.progress.losses) == 3  # after 64, 128 and 160


def test_by_time_the_first_validation_is_early(make: Make) -> None:
    hasty = make("loop.eval_seconds=0.0003")  # due after the first step, then by its own cost
    assert len(hasty.run().progress.losses) >= 2
    assert isinstance(hasty.publisher, RecordingPublisher)
    assert hasty.publisher.steps[0] == 1
    patient = make("loop.eval_seconds=1000")
    assert patient.validate_at == pytest.approx(1000 / 3)


def test_the_best_is_published_from_the_first_validation_on(make: Make) -> None:
    trainer = make("loop.eval_tokens=8")
    losses = trainer.run().progress.losses
    best = [k for k, loss in enumerate(losses) if loss == min(losses[: k + 1])]
    assert isinstance(trainer.publisher, RecordingPublisher)
    assert trainer.publisher.steps[: len(best)] == [k + 1 for k in best]
    assert trainer.publisher.steps[0] == 1


def test_an_interrupted_run_leaves_a_checkpoint(make: Make) -> None:
    trainer = make("loop.eval_seconds=1000")
    step = trainer.learner.step

    def interrupted() -> tuple[torch.Tensor, torch.Tensor]:
        trainer.interrupted = trainer.progress.step == 4
        return step()

    trainer.learner.step = interrupted  # type: ignore[method-assign]
    outcome = trainer.run()
    assert (outcome.reason, outcome.progress.step) == ("interrupted", 5)
    assert isinstance(trainer.publisher, RecordingPublisher)
    assert trainer.publisher.steps == [5]
    assert (trainer.folder / "state").exists()


def test_patience_ends_a_run_that_gains_nothing(make: Make) -> None:
    trainer = make("loop.eval_tokens=8", "loop.patience=2", "optimizer.lr=1e-9")
    trainer.progress.losses.append(0.5)  # better than will ever be reached
    assert trainer.run().reason == "early stop"
    assert len(trainer.progress.losses) == 3


def test_a_result_worse_than_a_guess_and_a_rising_loss_are_warned_of(make: Make) -> None:
    trainer = make()
    (warning,) = trainer._warnings(3.1)  # ln 20 is 2.996
    assert "worse than a uniform guess (3.00)" in warning
    trainer.progress.losses += [2.0, 2.3, 2.4]
    (warning,) = trainer._warnings(2.4)
    assert "the loss is rising: 2.40 against 2.00 at its best" in warning
    assert trainer._warnings(2.1) == []
