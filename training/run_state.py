"""The resumable state of a run on disk: tensors and scalars, replaced atomically, never pickled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor

from models.atomic_folder import recover, replacing

_TENSORS, _SCALARS = "state.safetensors", "state.json"
S = TypeVar("S")


def save_run_state(folder: Path, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
    """Write both to `folder`; a crash at any moment leaves the old state or the new one."""
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replacing(folder) as staging:
        (staging / _TENSORS).write_bytes(safetensors.torch.save(contiguous))
        (staging / _SCALARS).write_text(json.dumps(dict(scalars)), encoding="utf-8")


def load_run_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """What `save_run_state` wrote, or None where nothing was written yet."""
    recover(folder)
    if not folder.exists():
        return None
    scalars = json.loads((folder / _SCALARS).read_text("utf-8"))
    return safetensors.torch.load_file(folder / _TENSORS), scalars


def flatten_state(state: Any) -> list[Tensor]:
    """Tensors of a model's recurrent state (a dataclass of tensors and tuples), in field order."""
    flat: list[Tensor] = []
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        flat += value if isinstance(value, tuple) else [value]
    return flat


def unflatten_state(like: S, tensors: list[Tensor]) -> S:
    """Inverse of `flatten_state`; `like` gives the structure."""
    remaining = iter(tensors)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(like):  # type: ignore[arg-type]
        value = getattr(like, field.name)
        many = isinstance(value, tuple)
        values[field.name] = tuple(next(remaining) for _ in value) if many else next(remaining)
    return type(like)(**values)


def rng_tensors() -> dict[str, Tensor]:
    """State of the random generators that training draws from."""
    states = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["rng.cuda"] = torch.cuda.get_rng_state()
    return states


def restore_rng(tensors: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])
