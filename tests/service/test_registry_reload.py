"""Models that cannot be loaded, and checkpoints that change while they are served."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from service import registry as registry_module
from service.engine.hosts.async_engine import (
    CheckpointReplacedError,
    EngineUnavailableError,
)
from service.model_entry import UnservableModelError
from service.registry import ModelRegistry, ReloadError, UnknownModelError
from tests.service.engine.asking import until
from tests.service.plain_engine import PlainEngine
from tests.service.registries import Engines, registry_of, replace_checkpoint, use


async def test_whatever_prevents_loading_is_told_and_remembered(
    folder: Path, engines: Engines
) -> None:
    """A child killed at start was once a 500, and started anew by every request."""
    registry = registry_of(folder, engines, room_for=2)
    await registry.start()
    engines.broken.add("b")
    for attempt in range(3):
        with pytest.raises(EngineUnavailableError, match="cannot be loaded") as refusal:
            await use(registry, "b")
        assert 0 < refusal.value.retry_after <= 1
        assert engines.stopped == ["b"], attempt
    engines.broken.clear()
    os.utime(folder / "b" / "config.json")  # the folder has changed: tried at once
    assert (await use(registry, "b")).name == "b"


async def test_pauses_between_attempts_grow(
    folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_FIRST_PAUSE_S", 0.05)
    registry = registry_of(folder, engines)
    await registry.start()
    engines.broken.add("b")
    attempts = 0
    async with asyncio.timeout(10):
        while len(engines.stopped) < 4:
            attempts += 1
            with pytest.raises(EngineUnavailableError):
                await use(registry, "b")
            await asyncio.sleep(0.01)
    assert attempts > 8


@pytest.mark.parametrize(
    ("shape", "reason"),
    [({"architecture": "elman"}, "not elman"), ({"adaptive_cutoffs": [100]}, "adaptive softmax")],
)
async def test_kinds_that_are_not_served_evict_nobody(
    folder: Path, engines: Engines, shape: dict[str, Any], reason: str
) -> None:
    registry = registry_of(folder, engines, room_for=2)
    await registry.start()
    await use(registry, "c")
    path = folder / "b" / "config.json"
    config = json.loads(path.read_text())
    config["model"] |= {"tie_weights": False, **shape}
    path.write_text(json.dumps(config))
    for _ in range(2):
        with pytest.raises(UnservableModelError, match=reason):
            await use(registry, "b")
    assert engines.started == ["a", "c"]
    assert engines.stopped == []


async def test_an_engine_that_read_another_checkpoint_is_not_served(
    folder: Path, engines: Engines
) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    engines.digests["b"] = "sha256:of what was put there in the meantime"
    with pytest.raises(EngineUnavailableError):
        await use(registry, "b")
    assert engines.stopped == ["b"]


async def test_reload_swaps_and_fails_no_request(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    async with registry.lease("a") as old:
        digest = replace_checkpoint(folder / "a")
        assert (await registry.reload("a")).digest == digest
        async with registry.lease("a") as new:
            assert new.digest == digest
            assert new.engine is not old.engine
        assert old.engine.is_ready
        assert engines.stopped == []
    await until(lambda: engines.stopped == ["a"])
    assert not old.engine.is_ready


async def test_a_bad_replacement_is_refused_and_the_old_one_goes_on(
    folder: Path, engines: Engines
) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    old = await use(registry, "a")
    (folder / "a" / "config.json").write_text("{")
    with pytest.raises(ReloadError, match="is not replaced"):
        await registry.reload("a")
    engines.broken.add("a")
    shutil.copy(folder / "b" / "config.json", folder / "a")
    with pytest.raises(ReloadError, match="ended at start"):
        await registry.reload("default")
    assert (await use(registry, "a")) is old
    assert old.engine.is_ready
    with pytest.raises(UnknownModelError):
        await registry.reload("nope")


async def test_a_watched_folder(
    folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_LOOK_EVERY_S", 0.02)
    registry = ModelRegistry(folder / "a", folder, engines.factory(10), watches=True)
    await registry.start()
    for name in "bc":
        await use(registry, name)
    digest = replace_checkpoint(folder / "b")
    shutil.rmtree(folder / "c")
    (folder / "a" / "config.json").write_text("{")
    await until(lambda: sorted(engines.stopped) == ["b", "c"])
    assert (await use(registry, "b")).digest == digest
    assert (await use(registry, "a")).name == "a"
    assert registry.names() == ["a", "b", "d"]
    await registry.stop(0)


async def test_an_engine_that_found_another_checkpoint_is_replaced(
    folder: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_LOOK_EVERY_S", 0.02)
    registry = registry_of(folder, engines)
    await registry.start()
    old = await use(registry, "a")
    digest = replace_checkpoint(folder / "a")
    assert isinstance(old.engine, PlainEngine)
    old.engine.fault = CheckpointReplacedError("replaced")
    await until(lambda: registry.loaded()[0].digest == digest)
    assert registry.is_ready
    await registry.stop(0)
