"""Registries over folders of checkpoints, and engines that remember what became of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from models.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from service.engine.hosts.async_engine import AsyncEngine
from service.engine.hosts.build import EngineFactory
from service.registry import ModelRegistry
from service.served_model import ServedModel
from tests.service.plain_engine import PlainEngine, PlainLSTM

TEMPLATE = {
    "roles": {"user": "<|user|>", "assistant": "<|assistant|>"},
    "end_of_turn": "<|end|>",
}


class Engines:
    """Makes engines and remembers them, each model's size being 1."""

    def __init__(self, lstm: PlainLSTM) -> None:
        self.lstm = lstm
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: set[str] = set()
        self.broken: set[str] = set()
        self.digests: dict[str, str] = {}

    def build(self, folder: Path) -> AsyncEngine:
        engines = self

        class Engine(PlainEngine):
            async def start(self) -> None:
                await engines.gate.wait()
                if folder.name in engines.fail:
                    raise CheckpointError("damaged")
                if folder.name in engines.broken:
                    raise RuntimeError("the engine process ended at start")
                engines.started.append(folder.name)
                await super().start()

            async def stop(self, grace_s: float) -> None:
                engines.stopped.append(folder.name)
                await super().stop(grace_s)

        digest = json.loads((folder / "config.json").read_text())["digest"]
        return Engine(self.lstm, digest=self.digests.get(folder.name, digest))

    def factory(self, room_for: int) -> EngineFactory:
        return EngineFactory(build=self.build, size=lambda _: 1, budget_bytes=room_for)


def registry_of(folder: Path, engines: Engines, room_for: int = 10) -> ModelRegistry:
    return ModelRegistry(folder / "a", folder, engines.factory(room_for))


async def use(registry: ModelRegistry, name: str | None) -> ServedModel:
    async with registry.lease(name) as model:
        return model


def replace_checkpoint(folder: Path, **changes: Any) -> str:
    """Save another checkpoint over the one in `folder`; its digest."""
    before = load_checkpoint(folder)
    weights = {name: weight * np.float32(0.5) for name, weight in before.weights.items()}
    return save_checkpoint(replace(before, **{"weights": weights, **changes}), folder)
