"""Loading on first use, unloading for room, and what happens when many ask at once."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from models.checkpoint import (
    CheckpointError,
)
from service import registry as registry_module
from service.engine.hosts.async_engine import (
    EngineUnavailableError,
)
from service.registry import ModelRegistry, UnknownModelError
from tests.service.plain_engine import PlainLSTM
from tests.service.registries import TEMPLATE, Engines, registry_of, replace_checkpoint, use


async def test_a_checkpoint_is_served_with_all_its_facts(
    folder: Path, engines: Engines, lstm: PlainLSTM
) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    model = await use(registry, "a")
    assert (model.name, model.config, model.card) == ("a", lstm.config, "# a\n")
    assert model.digest.startswith("sha256:")
    assert model.tokenizer.decode(model.tokenizer.encode("the cat")) == "the cat"
    assert model.chat_template == TEMPLATE
    assert model.sampling_defaults == {"temperature": 0.8}
    assert model.metrics == {"bits_per_byte": 1.5}
    assert model.created > 1_600_000_000
    assert await registry.facts("a") == await registry.facts("default")


async def test_only_the_default_is_loaded_before_it_is_asked_for(
    folder: Path, engines: Engines
) -> None:
    registry = registry_of(folder, engines)
    assert not registry.is_ready
    await registry.start()
    assert registry.is_ready
    assert registry.names() == ["a", "b", "c", "d"]
    await registry.facts("b")
    assert engines.started == ["a"]
    for name in (None, "default", "a", "b", "b"):
        await use(registry, name)
    assert engines.started == ["a", "b"]


async def test_many_who_ask_at_once_load_once(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    models = await asyncio.gather(*(use(registry, name) for name in "bcbcbc"))
    assert sorted(engines.started) == ["a", "b", "c"]
    assert models[0] is models[2]


async def test_one_who_leaves_does_not_undo_the_loading(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    engines.gate.clear()
    leaving, staying = (asyncio.create_task(use(registry, "b")) for _ in range(2))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.sleep(0)
    engines.gate.set()
    assert (await staying).name == "b"
    assert leaving.cancelled()
    assert engines.started == ["a", "b"]


async def test_least_recently_used_makes_room(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines, room_for=3)
    await registry.start()
    for name in ("b", "c", "b", "d"):
        await use(registry, name)
    assert engines.stopped == ["c"]
    assert {model.name for model in registry.loaded()} == {"a", "b", "d"}
    await use(registry, "c")
    assert engines.stopped == ["c", "b"]


async def test_a_model_in_use_and_the_default_stay(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines, room_for=2)
    await registry.start()
    async with registry.lease("b") as model:
        with pytest.raises(EngineUnavailableError, match="needs about"):
            await use(registry, "c")
        assert model.engine.is_ready
    assert engines.stopped == []
    assert (await use(registry, "c")).name == "c"
    assert engines.stopped == ["b"]


async def test_concurrent_loads_keep_within_the_budget(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines, room_for=2)
    await registry.start()

    async def try_to_use(name: str) -> bool:
        try:
            async with registry.lease(name):
                assert len(registry.loaded()) <= 2
                await asyncio.sleep(0.01)
            return True
        except EngineUnavailableError:
            return False

    used = await asyncio.gather(*(try_to_use(name) for name in "bcdbcd"))
    assert any(used)
    assert len(registry.loaded()) <= 2
    assert await try_to_use("d")


async def test_unknown_names(folder: Path, engines: Engines) -> None:
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "a" / "config.json", folder / ".hidden")
    (folder / "empty").mkdir()
    registry = registry_of(folder, engines)
    await registry.start()
    assert registry.names() == ["a", "b", "c", "d"]
    for name in ("nope", ".hidden", "empty", "../a", "", "a/"):
        with pytest.raises(UnknownModelError):
            await use(registry, name)


async def test_checkpoints_come_and_go(folder: Path, saved: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    shutil.copytree(saved, folder / "new")
    shutil.rmtree(folder / "b")
    assert (await use(registry, "new")).name == "new"
    assert registry.names() == ["a", "c", "d", "new"]
    with pytest.raises(UnknownModelError):
        await use(registry, "b")


async def test_a_default_from_elsewhere(folder: Path, tmp_path: Path, engines: Engines) -> None:
    elsewhere = tmp_path / "runs" / "mine"
    shutil.copytree(folder / "a", elsewhere)
    registry = ModelRegistry(elsewhere, folder, engines.factory(10))
    await registry.start()
    assert registry.names() == ["mine", "a", "b", "c", "d"]
    assert (await use(registry, None)).name == "mine"


async def test_a_damaged_checkpoint_is_refused_and_may_be_mended(
    folder: Path, saved: Path, engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_FIRST_PAUSE_S", 0.0)
    registry = registry_of(folder, engines)
    await registry.start()
    engines.fail.add("b")
    (folder / "c" / "config.json").write_text("{")
    for name in ("b", "c"):
        with pytest.raises(EngineUnavailableError, match="cannot be loaded"):
            await use(registry, name)
    engines.fail.clear()
    shutil.copy(saved / "config.json", folder / "c")
    for name in ("b", "c"):
        assert (await use(registry, name)).name == name


async def test_a_damaged_default_ends_the_start(folder: Path, engines: Engines) -> None:
    engines.fail.add("a")
    with pytest.raises(CheckpointError, match="damaged"):
        await registry_of(folder, engines).start()
    assert engines.stopped == ["a"]


async def test_stop_ends_what_is_loaded_and_what_is_loading(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines)
    await registry.start()
    await use(registry, "b")
    engines.gate.clear()
    loading = asyncio.create_task(use(registry, "c"))
    await asyncio.sleep(0.05)
    await registry.stop(grace_s=0)
    with pytest.raises(EngineUnavailableError):
        await loading
    assert sorted(engines.stopped) == ["a", "b", "c"]
    assert registry.loaded() == []


async def test_before_its_start_the_default_is_not_waited_for(
    folder: Path, engines: Engines
) -> None:
    registry = registry_of(folder, engines)
    with pytest.raises(EngineUnavailableError, match="not ready yet"):
        await use(registry, "a")


async def test_leases_end_with_their_contexts(folder: Path, engines: Engines) -> None:
    registry = registry_of(folder, engines, room_for=2)
    await registry.start()
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(registry.lease("b"))
    with pytest.raises(UnknownModelError):
        await use(registry, "nope")
    assert (await use(registry, "c")).name == "c"


async def test_facts_of_a_model_that_is_not_loaded_are_those_of_the_folder(
    folder: Path, engines: Engines
) -> None:
    registry = registry_of(folder, engines)
    before = (await registry.facts("b")).digest
    digest = replace_checkpoint(folder / "b")
    assert (await registry.facts("b")).digest == digest != before


async def test_working_files_of_a_run_are_no_model(
    folder: Path, saved: Path, engines: Engines
) -> None:
    shutil.copytree(saved, folder / "b.run")
    assert registry_of(folder, engines).names() == ["a", "b", "c", "d"]


async def test_further_names_of_the_default(folder: Path, engines: Engines) -> None:
    registry = ModelRegistry(folder / "a", folder, engines.factory(10), aliases=("gpt", "b"))
    await registry.start()
    assert (await use(registry, "gpt")).name == "a"
    assert (await use(registry, "b")).name == "a"
    assert (await registry.facts("gpt")).name == "a"
