"""What the registry keeps of one name: its folder, the model while loaded, the last failure."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint import CONFIG
from service.engine.hosts.async_engine import EngineUnavailableError
from service.served_model import ModelFacts, ServedModel

# What tells one state of a checkpoint folder from another, without reading the files.
Fingerprint = tuple[int, int, int] | None


class UnservableModelError(ValueError):
    """A sound checkpoint of a kind that the engine does not serve; the message says which."""


@dataclass(kw_only=True, eq=False)
class Loaded:
    """A model in memory. leases: requests that are using it; a retired one ends with the last."""

    model: ServedModel
    fingerprint: Fingerprint
    leases: int = 0
    is_retired: bool = False


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a folder, as it was, could not be loaded, and until when nobody tries again."""

    error: EngineUnavailableError | UnservableModelError
    fingerprint: Fingerprint
    pause_s: float
    until: float


@dataclass(kw_only=True, eq=False)
class Entry:
    """A name: a folder, and its model while loaded. leases: requests that want or use it."""

    name: str
    folder: Path | None = None
    facts: ModelFacts | None = None
    facts_of: Fingerprint = None
    loaded: Loaded | None = None
    loading: asyncio.Task[Loaded] | None = None
    failure: Failure | None = None
    refused: Fingerprint = None
    num_bytes: int = 0
    leases: int = 0
    last_used: float = 0

    def fingerprint(self) -> Fingerprint:
        if self.folder is None:
            return None
        try:
            status = (self.folder / CONFIG).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
