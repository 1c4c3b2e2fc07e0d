"""What is saved is what is taken up again, tensor by tensor."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.architectures import build_model
from models.config import Architecture
from tests.models.small_networks import VOCAB, small_config
from training.averaging import WeightAverage
from training.config import AveragingSection, OptimizerSection
from training.data import Position
from training.optimizers import build_optimizer
from training.run_state import Progress, RunState, flatten_state, recover_run, unflatten_state


def fresh_state(architecture: Architecture, rows: int = 3) -> RunState:
    torch.manual_seed(0)
    model = build_model(small_config(architecture))
    return RunState(
        model=model,
        optimizer=build_optimizer(model, OptimizerSection(lr=0.1)),
        average=WeightAverage(model, AveragingSection(kind="exponential")),
        carried=model.initial_state(rows),
        position=Position(),
        progress=Progress(),
    )


def take_a_step(state: RunState) -> None:
    ids = torch.randint(VOCAB, (4, 3))
    features, state.carried = state.model(ids, state.carried.detach())
    state.optimizer.zero_grad()
    loss = state.model.logits(features).logsumexp(-1).mean()
    torch.autograd.backward(loss)
    state.optimizer.step()
    state.average.update(0.5)


@pytest.mark.parametrize("architecture", ["lstm", "elman", "window_mlp"])
def test_everything_that_changes_comes_back(architecture: Architecture, tmp_path: Path) -> None:
    state = fresh_state(architecture)
    take_a_step(state)
    state.progress = Progress(step=7, tokens=84, seconds=1.5, losses=[3.0, 2.5])
    state.position = Position(epoch=2, offset=12)
    state.save(tmp_path / "state", flatten_state(state.carried))
    again = fresh_state(architecture)
    assert again.load(tmp_path / "state", slice(None))
    assert (again.progress, again.position) == (state.progress, state.position)
    for name, tensor in state.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
    pairs = zip(flatten_state(again.carried), flatten_state(state.carried), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all(map(torch.equal, again.average.tensors, state.average.tensors))
    # The next step is the same too, so the optimiser's moments came back.
    for each in (state, again):
        torch.manual_seed(1)
        take_a_step(each)
    pairs = zip(again.model.parameters(), state.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_process_takes_up_its_own_streams(tmp_path: Path) -> None:
    state = fresh_state("lstm", rows=4)
    carried = [
        torch.arange(4.0)[:, None].expand(4, t.shape[-1]) for t in flatten_state(state.carried)
    ]
    state.save(tmp_path / "state", carried)
    mine = fresh_state("lstm", rows=2)
    mine.load(tmp_path / "state", slice(2, 4))
    assert all(np.array_equal(t[:, 0], [2, 3]) for t in flatten_state(mine.carried))


def test_where_nothing_was_saved_nothing_is_loaded(tmp_path: Path) -> None:
    assert not fresh_state("lstm").load(tmp_path / "none", slice(None))


def test_a_structure_survives_being_flattened() -> None:
    carried = fresh_state("lstm").carried
    again = unflatten_state(carried, flatten_state(carried))
    assert type(again) is type(carried)
    assert [len(again.h), len(again.c)] == [2, 2]


def test_after_a_kill_between_two_renames_the_old_folders_are_back(tmp_path: Path) -> None:
    for folder in (tmp_path / "m.run" / ".state.previous", tmp_path / ".m.previous"):
        folder.mkdir(parents=True)
        (folder / "file").write_text("old")
    recover_run(tmp_path / "m.run", tmp_path / "m")
    assert (tmp_path / "m.run" / "state" / "file").read_text() == "old"
    assert (tmp_path / "m" / "file").read_text() == "old"


def test_progress_knows_its_best_and_how_long_ago_it_was() -> None:
    progress = Progress(losses=[3.0, 2.0, 2.5, 2.2])
    assert (progress.best_loss, progress.without_gain) == (2.0, 2)
    assert Progress().without_gain == 0
