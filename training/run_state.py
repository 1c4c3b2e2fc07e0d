"""What changes during a run, and its saved form: tensors and scalars, replaced at once, no pickle.

Random numbers need no saving: they are drawn from the seed and the step alone.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from models.atomic_folder import recover, replacing
from models.language_model import LanguageModel
from training.averaging import WeightAverage
from training.data import Position

_TENSORS, _SCALARS = "state.safetensors", "state.json"
S = TypeVar("S")


@dataclass
class Progress:
    """Scalars of a run; `losses` are those of all validations so far, in nats a token."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)

    @property
    def best_loss(self) -> float:
        return min(self.losses, default=math.inf)

    @property
    def without_gain(self) -> int:
        """Validations since the best one."""
        return len(self.losses) - 1 - self.losses.index(self.best_loss) if self.losses else 0


@dataclass
class RunState:
    """All that changes while a run goes on, and so all that going on needs.

    carried: the network's state at the end of the last window, of the streams of this process.
    """

    model: LanguageModel
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    carried: Any
    position: Position
    progress: Progress

    def save(self, folder: Path, carried: list[Tensor]) -> None:
        """Write to `folder`; `carried` are the tensors of the carried state of all streams."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {
                f"optimizer.{index}.{k}": v for k, v in values.items() if isinstance(v, Tensor)
            }
        tensors |= {f"average.{i}": t for i, t in enumerate(self.average.tensors)}
        tensors |= {f"carried.{i}": t.clone() for i, t in enumerate(carried)}  # may share memory
        scalars = {
            "progress": dataclasses.asdict(self.progress),
            "position": dataclasses.asdict(self.position),
            "average": [self.average.num_updates, self.average.triggered],
        }
        with replacing(folder) as staging:
            contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
            (staging / _TENSORS).write_bytes(safetensors.torch.save(contiguous))
            (staging / _SCALARS).write_text(json.dumps(scalars), encoding="utf-8")

    def load(self, folder: Path, mine: slice) -> bool:
        """Take up what `save` wrote; `mine` are the streams of this process. False if nothing."""
        if not folder.exists():
            return False
        scalars = json.loads((folder / _SCALARS).read_text("utf-8"))
        tensors = safetensors.torch.load_file(folder / _TENSORS)
        self.model.load_state_dict(_section(tensors, "model."))
        optimizer = self.optimizer.state_dict()
        for name, tensor in _section(tensors, "optimizer.").items():
            index, key = name.split(".")
            optimizer["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(optimizer)
        device = self.model.embedding.weight.device
        self.average.tensors = [t.to(device) for t in _ordered(tensors, "average.")]
        self.average.num_updates, self.average.triggered = scalars["average"]
        carried = [t[..., mine, :].to(device) for t in _ordered(tensors, "carried.")]
        self.carried = unflatten_state(self.carried, carried)
        self.progress = Progress(**scalars["progress"])
        self.position = Position(**scalars["position"])
        return True


def recover_run(run_folder: Path, out: Path) -> None:
    """After a kill in the middle of a save, where the system cannot swap folders at once."""
    recover(run_folder / "state")
    recover(out)


def flatten_state(state: Any) -> list[Tensor]:
    """Tensors of a model's recurrent state (a dataclass of tensors and tuples), in field order.

    Each is (..., B, H).
    """
    flat: list[Tensor] = []
    for item in dataclasses.fields(state):
        value = getattr(state, item.name)
        flat += value if isinstance(value, tuple) else [value]
    return flat


def unflatten_state(like: S, tensors: list[Tensor]) -> S:
    """Inverse of `flatten_state`; `like` gives the structure."""
    remaining = iter(tensors)
    values: dict[str, Any] = {}
    for item in dataclasses.fields(like):  # type: ignore[arg-type]
        value = getattr(like, item.name)
        many = isinstance(value, tuple)
        values[item.name] = tuple(next(remaining) for _ in value) if many else next(remaining)
    return type(like)(**values)


def _section(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _ordered(tensors: Mapping[str, Tensor], prefix: str) -> list[Tensor]:
    section = _section(tensors, prefix)
    return [section[str(i)] for i in range(len(section))]
