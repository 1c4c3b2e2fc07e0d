"""Models by name, loaded on first use within a memory budget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint import CONFIG, CheckpointError
from service.engine.hosts.async_engine import AsyncEngine, EngineUnavailableError
from service.engine.hosts.build import EngineFactory
from service.served_model import ModelFacts, ServedModel, read_facts

logger = logging.getLogger(__name__)

DEFAULT_ALIAS = "default"


class UnknownModelError(LookupError):
    """No model of that name is served."""


@dataclass(kw_only=True, eq=False)
class _Entry:
    """A name: a folder, and its model while loaded. leases: requests that are using it."""

    name: str
    folder: Path | None = None
    facts: ModelFacts | None = None
    model: ServedModel | None = None
    loading: asyncio.Task[ServedModel] | None = None
    num_bytes: int = 0
    leases: int = 0
    last_used: float = 0


class ModelRegistry:
    """The default model, which stays loaded, and those of a folder. Used from one event loop.

    The folder is looked at again on every question, so that a checkpoint put there later is found.
    """

    def __init__(
        self,
        default: Path | ServedModel,
        folder: Path | None,
        factory: EngineFactory | None,
        engine: AsyncEngine | None = None,
    ) -> None:
        """`default`: a checkpoint folder, or a model whose engine is to be started.

        engine: one for the default folder that is on its way already.
        """
        if isinstance(default, ServedModel):
            self._default = _Entry(name=default.name, facts=default)
            self._prebuilt = {default.name: default}
        else:
            self._default = _Entry(name=default.resolve().name, folder=default)
            self._prebuilt = {}
        self._entries = {self._default.name: self._default}
        self._folder, self._factory, self._engine = folder, factory, engine
        self._changing = asyncio.Lock()

    @classmethod
    def of_models(cls, models: Iterable[ServedModel]) -> ModelRegistry:
        """A registry of models that were built elsewhere; the first one is the default."""
        first, *others = models
        registry = cls(first, None, None)
        for model in others:
            registry._entries[model.name] = _Entry(name=model.name, facts=model)
            registry._prebuilt[model.name] = model
        return registry

    @property
    def default_name(self) -> str:
        return self._default.name

    @property
    def is_ready(self) -> bool:
        """Whether the default model can compute."""
        model = self._default.model
        return model is not None and model.engine.is_ready

    def loaded(self) -> list[ServedModel]:
        """The models that are in memory now."""
        return [entry.model for entry in self._entries.values() if entry.model is not None]

    def names(self) -> list[str]:
        """Every name served, the default one first."""
        self._scan()
        others = sorted(set(self._entries) - {self._default.name})
        return [self._default.name, *others]

    async def facts(self, name: str) -> ModelFacts:
        """A model without loading it. Raises UnknownModelError, CheckpointError."""
        entry = self._find(name)
        if entry.facts is None:
            assert entry.folder is not None
            entry.facts = await asyncio.to_thread(read_facts, entry.folder)
        return entry.facts

    async def start(self) -> None:
        """Load the default model, and start those built elsewhere."""
        await self._loaded(self._default)
        for name in self._prebuilt:
            await self._loaded(self._entries[name])

    async def stop(self, grace_s: float) -> None:
        """Stop every engine; each may take `grace_s` seconds to finish its work."""
        loading = [entry.loading for entry in self._entries.values() if entry.loading is not None]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        if self._engine is not None:
            await self._engine.stop(0)
        models = self.loaded()
        for entry in self._entries.values():
            entry.model = None
        await asyncio.gather(*(model.engine.stop(grace_s) for model in models))

    @asynccontextmanager
    async def lease(self, name: str | None) -> AsyncIterator[ServedModel]:
        """The model of that name, in memory for as long as the context lasts.

        None and "default" stand for the default model. Raises UnknownModelError, and
        EngineUnavailableError where it cannot be loaded now.
        """
        entry = self._find(name)
        entry.leases += 1
        entry.last_used = asyncio.get_running_loop().time()
        try:
            if entry is self._default and entry.model is None:
                raise EngineUnavailableError(f"model {entry.name!r} is not ready yet")
            yield await self._loaded(entry)
        finally:
            entry.leases -= 1

    def _find(self, name: str | None) -> _Entry:
        if name is None or (name == DEFAULT_ALIAS and name not in self._entries):
            return self._default
        if name not in self._entries:
            self._scan()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownModelError(name) from None

    def _scan(self) -> None:
        """Take up new checkpoint folders and drop vanished ones that are not loaded."""
        if self._folder is None or not self._folder.is_dir():
            return
        found = {
            path.name: path
            for path in self._folder.iterdir()
            if not path.name.startswith(".") and (path / CONFIG).is_file()
        }
        for name, path in found.items():
            self._entries.setdefault(name, _Entry(name=name, folder=path))
        for name, entry in list(self._entries.items()):
            unused = entry.model is None and entry.loading is None and not entry.leases
            if name not in found and unused and entry is not self._default:
                del self._entries[name]

    async def _loaded(self, entry: _Entry) -> ServedModel:
        if entry.model is not None:
            return entry.model
        if entry.loading is None:
            entry.loading = asyncio.create_task(self._load(entry))
        # A client that goes away must not undo the loading for the others that wait for it.
        return await asyncio.shield(entry.loading)

    async def _load(self, entry: _Entry) -> ServedModel:
        try:
            if (prebuilt := self._prebuilt.get(entry.name)) is not None:
                await prebuilt.engine.start()
                entry.model = prebuilt
            else:
                entry.model = await self._load_folder(entry)
            return entry.model
        except asyncio.CancelledError:
            raise EngineUnavailableError("the server is shutting down") from None
        except CheckpointError as error:
            if entry is self._default:
                raise
            logger.exception("model %r cannot be loaded", entry.name)
            raise EngineUnavailableError(
                f"model {entry.name!r} cannot be loaded; the server's log says why"
            ) from error
        finally:
            entry.loading = None

    async def _load_folder(self, entry: _Entry) -> ServedModel:
        assert entry.folder is not None
        assert self._factory is not None
        stored = await asyncio.to_thread(read_facts, entry.folder)
        entry.facts, entry.num_bytes = stored, self._factory.size(stored.config)
        async with self._changing:
            if entry is not self._default:
                await self._make_room(entry, self._factory.budget_bytes)
            if entry is self._default and self._engine is not None:
                engine, self._engine = self._engine, None
            else:
                engine = self._factory.build(entry.folder)
            try:
                await engine.start()
            except BaseException:
                await engine.stop(0)
                raise
        return ServedModel.of(stored, engine)

    async def _make_room(self, entry: _Entry, budget_bytes: int) -> None:
        """Unload idle models, least recently used first, until `entry` fits into the budget."""
        used = sum(other.num_bytes for other in self._entries.values() if other.model is not None)
        idle = [
            other
            for other in self._entries.values()
            if other.model is not None and not other.leases and other is not self._default
        ]
        for other in sorted(idle, key=lambda other: other.last_used):
            if used + entry.num_bytes <= budget_bytes:
                break
            if not other.leases:  # it may have been taken while another one was unloaded
                used -= other.num_bytes
                await self._unload(other)
        if used + entry.num_bytes > budget_bytes:
            raise EngineUnavailableError(
                f"model {entry.name!r} needs about {entry.num_bytes >> 20} MiB beside the models "
                f"in use ({used >> 20} MiB); the budget is {budget_bytes >> 20} MiB"
            )

    async def _unload(self, entry: _Entry) -> None:
        model = entry.model
        assert model is not None
        entry.model = None
        logger.info("unloading model %r to make room", entry.name)
        await model.engine.stop(0)
