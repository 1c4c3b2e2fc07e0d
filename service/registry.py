"""Models by name, loaded on first use within a memory budget, and replaced while they serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from models.checkpoint import CONFIG, CheckpointError
from service.engine.hosts.async_engine import (
    AsyncEngine,
    CheckpointReplacedError,
    EngineUnavailableError,
)
from service.engine.hosts.build import EngineFactory
from service.engine.runners.base import why_not_servable
from service.model_entry import Entry, Failure, Fingerprint, Loaded, UnservableModelError
from service.served_model import ModelFacts, ServedModel, read_facts

logger = logging.getLogger(__name__)

DEFAULT_ALIAS = "default"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_LOOK_EVERY_S = 1.0


class UnknownModelError(LookupError):
    """No model of that name is served."""


class ReloadError(RuntimeError):
    """What stands in the folder cannot take the place of what is served, which goes on."""


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
        *,
        aliases: Sequence[str] = (),
        watches: bool = False,
    ) -> None:
        """`default`: a checkpoint folder, or a model whose engine is to be started.

        engine: one for the default folder that is on its way already; aliases: further names of
        the default model; watches: load what is put in the place of a loaded checkpoint.
        """
        if isinstance(default, ServedModel):
            self._default = Entry(name=default.name, facts=default)
            self._prebuilt = {default.name: default}
        else:
            self._default = Entry(name=default.resolve().name, folder=default)
            self._prebuilt = {}
        self._entries = {self._default.name: self._default}
        self._folder, self._factory, self._engine = folder, factory, engine
        self._aliases, self._watches = frozenset(aliases), watches
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def of_models(
        cls, models: Iterable[ServedModel], *, aliases: Sequence[str] = ()
    ) -> ModelRegistry:
        """A registry of models that were built elsewhere; the first one is the default."""
        first, *others = models
        registry = cls(first, None, None, aliases=aliases)
        for model in others:
            registry._entries[model.name] = Entry(name=model.name, facts=model)
            registry._prebuilt[model.name] = model
        return registry

    @property
    def default_name(self) -> str:
        return self._default.name

    @property
    def is_ready(self) -> bool:
        """Whether the default model can compute."""
        loaded = self._default.loaded
        return loaded is not None and loaded.model.engine.is_ready

    @property
    def fault(self) -> Exception | None:
        """Why the default model cannot compute, where its engine tried and failed."""
        loaded = self._default.loaded
        return None if loaded is None else loaded.model.engine.fault

    def loaded(self) -> list[ServedModel]:
        """The models that are in memory now."""
        return [e.loaded.model for e in self._entries.values() if e.loaded is not None]

    @property
    def aliases(self) -> list[str]:
        """Further names of the default model."""
        return sorted(self._aliases)

    def names(self) -> list[str]:
        """Every name served, the default one first."""
        self._scan()
        others = sorted(set(self._entries) - {self._default.name})
        return [self._default.name, *others]

    async def facts(self, name: str) -> ModelFacts:
        """A model without loading it. Raises UnknownModelError, CheckpointError."""
        entry = self._find(name)
        if entry.loaded is not None:
            return entry.loaded.model
        if entry.folder is not None:
            fingerprint = entry.fingerprint()
            if entry.facts is None or entry.facts_of != fingerprint:
                entry.facts = await asyncio.to_thread(read_facts, entry.folder)
                entry.facts_of = fingerprint
        assert entry.facts is not None
        return entry.facts

    async def start(self) -> None:
        """Load the default model, and start those built elsewhere."""
        await self._get(self._default)
        for name in self._prebuilt:
            await self._get(self._entries[name])
        self._spawn(self._look_after())

    async def stop(self, grace_s: float) -> None:
        """Stop every engine; each may take `grace_s` seconds to finish its work."""
        loading = [entry.loading for entry in self._entries.values() if entry.loading is not None]
        for task in (*loading, *self._tasks):
            task.cancel()
        await asyncio.gather(*loading, *self._tasks, return_exceptions=True)
        if self._engine is not None:
            await self._engine.stop(0)
        models = self.loaded()
        for entry in self._entries.values():
            entry.loaded = None
        await asyncio.gather(*(model.engine.stop(grace_s) for model in models))

    @asynccontextmanager
    async def lease(self, name: str | None) -> AsyncIterator[ServedModel]:
        """The model of that name, in memory for as long as the context lasts.

        None and "default" stand for the default model. Raises UnknownModelError,
        UnservableModelError, and EngineUnavailableError where it cannot be loaded now.
        """
        entry = self._find(name)
        entry.leases += 1
        entry.last_used = asyncio.get_running_loop().time()
        try:
            if entry is self._default and entry.loaded is None:
                raise EngineUnavailableError(f"model {entry.name!r} is not ready yet")
            loaded = await self._get(entry)
            while loaded.is_retired:  # replaced while it was waited for
                loaded = await self._get(entry)
            loaded.leases += 1
            try:
                yield loaded.model
            finally:
                loaded.leases -= 1
                if loaded.is_retired and not loaded.leases:
                    self._spawn(loaded.model.engine.stop(0))
        finally:
            entry.leases -= 1

    async def reload(self, name: str | None) -> ModelFacts:
        """Put what stands in a model's folder now in the place of what is loaded.

        Requests go on meanwhile, each with the model that it began with. Raises UnknownModelError,
        and ReloadError where the new one is refused; then the old one goes on.
        """
        entry = self._find(name)
        if entry.folder is None:
            raise ReloadError(f"model {entry.name!r} was not read from a folder")
        async with self._changing:
            fingerprint = entry.fingerprint()
            try:
                if entry.loaded is None:
                    entry.facts = await asyncio.to_thread(read_facts, entry.folder)
                    entry.facts_of, entry.failure = fingerprint, None
                    return entry.facts
                loaded = await self._load_folder(entry, build_anew=True)
            except (ValueError, OSError, RuntimeError) as error:
                entry.refused = fingerprint
                logger.error("model %r is not replaced: %s", entry.name, error)
                raise ReloadError(f"model {entry.name!r} is not replaced: {error}") from error
            old, entry.loaded, entry.failure = entry.loaded, loaded, None
            self._retire(old)
        logger.info("model %r is replaced: digest %s", entry.name, loaded.model.digest)
        return loaded.model

    async def reload_changed(self) -> None:
        """Reload each loaded model whose folder has changed, and drop those whose folder is gone.

        What is refused is refused once: it is looked at again when it changes.
        """
        for entry in list(self._entries.values()):
            loaded, fingerprint = entry.loaded, entry.fingerprint()
            if loaded is None or entry.folder is None or fingerprint == loaded.fingerprint:
                continue
            if fingerprint is None:
                if entry is not self._default and not entry.folder.exists():
                    logger.info("model %r was removed", entry.name)
                    entry.loaded = None
                    self._retire(loaded)
            elif fingerprint != entry.refused:
                with suppress(ReloadError):  # logged
                    await self.reload(entry.name)

    def _find(self, name: str | None) -> Entry:
        if name is None or name in self._aliases:
            return self._default
        if name == DEFAULT_ALIAS and name not in self._entries:
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
            if not path.name.startswith(".")
            and path.suffix != ".run"  # a training run's working files
            and (path / CONFIG).is_file()
        }
        for name, path in found.items():
            self._entries.setdefault(name, Entry(name=name, folder=path))
        for name, entry in list(self._entries.items()):
            unused = entry.loaded is None and entry.loading is None and not entry.leases
            if name not in found and unused and entry is not self._default:
                del self._entries[name]

    async def _get(self, entry: Entry) -> Loaded:
        if entry.loaded is not None:
            return entry.loaded
        if entry.loading is None:
            self._check_failure(entry)
            entry.loading = asyncio.create_task(self._load(entry))
        # A client that goes away must not undo the loading for the others that wait for it.
        return await asyncio.shield(entry.loading)

    def _check_failure(self, entry: Entry) -> None:
        """Raise what the last attempt raised, unless its pause is over or the folder changed."""
        failure = entry.failure
        left_s = 0.0 if failure is None else failure.until - asyncio.get_running_loop().time()
        if failure is None or left_s <= 0 or failure.fingerprint != entry.fingerprint():
            return
        if isinstance(failure.error, EngineUnavailableError):
            raise EngineUnavailableError(str(failure.error), left_s)
        raise failure.error

    async def _load(self, entry: Entry) -> Loaded:
        fingerprint = entry.fingerprint()
        try:
            if (prebuilt := self._prebuilt.get(entry.name)) is not None:
                await prebuilt.engine.start()
                entry.loaded = Loaded(model=prebuilt, fingerprint=None)
            else:
                async with self._changing:
                    entry.loaded = await self._load_folder(entry)
            entry.failure = None
            return entry.loaded
        except asyncio.CancelledError:
            raise EngineUnavailableError("the server is shutting down") from None
        except Exception as error:
            if entry is self._default:
                raise
            raise self._remember(entry, error, fingerprint) from error
        finally:
            entry.loading = None

    def _remember(
        self, entry: Entry, error: Exception, fingerprint: Fingerprint
    ) -> EngineUnavailableError | UnservableModelError:
        """What clients are told of `error`, now and for a while; the log has the whole of it."""
        if isinstance(error, EngineUnavailableError):  # no room: the next request may find some
            return error
        before = entry.failure
        pause_s = _FIRST_PAUSE_S
        if before is not None and before.fingerprint == fingerprint:
            pause_s = min(2 * before.pause_s, _LONGEST_PAUSE_S)
        told: EngineUnavailableError | UnservableModelError
        if isinstance(error, UnservableModelError):
            told = error
        else:
            logger.error("model %r cannot be loaded: %s", entry.name, error)
            told = EngineUnavailableError(
                f"model {entry.name!r} cannot be loaded; the server's log says why", pause_s
            )
        until = asyncio.get_running_loop().time() + pause_s
        entry.failure = Failure(error=told, fingerprint=fingerprint, pause_s=pause_s, until=until)
        return told

    async def _load_folder(self, entry: Entry, *, build_anew: bool = False) -> Loaded:
        """The model in the entry's folder. build_anew: beside one that is loaded."""
        assert entry.folder is not None
        assert self._factory is not None
        fingerprint = entry.fingerprint()
        facts = await asyncio.to_thread(read_facts, entry.folder)
        if reason := why_not_servable(facts.config):
            raise UnservableModelError(f"model {entry.name!r} cannot be served: {reason}")
        entry.facts, entry.facts_of = facts, fingerprint
        entry.num_bytes = self._factory.size(facts.config)
        if entry is not self._default and not build_anew:
            await self._make_room(entry, self._factory.budget_bytes)
        if entry is self._default and self._engine is not None:
            engine, self._engine = self._engine, None
        else:
            engine = self._factory.build(entry.folder)
        try:
            await engine.start()
            if engine.info.digest != facts.digest:
                raise CheckpointError(
                    f"the checkpoint in {entry.folder} was replaced while it was being loaded"
                )
        except BaseException:
            await engine.stop(0)
            raise
        return Loaded(model=ServedModel.of(facts, engine), fingerprint=fingerprint)

    async def _make_room(self, entry: Entry, budget_bytes: int) -> None:
        """Unload idle models, least recently used first, until `entry` fits into the budget."""
        used = sum(other.num_bytes for other in self._entries.values() if other.loaded is not None)
        idle = [
            other
            for other in self._entries.values()
            if other.loaded is not None and not other.leases and other is not self._default
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

    async def _unload(self, entry: Entry) -> None:
        assert entry.loaded is not None
        model, entry.loaded = entry.loaded.model, None
        logger.info("unloading model %r to make room", entry.name)
        await model.engine.stop(0)

    def _retire(self, loaded: Loaded) -> None:
        """Let the requests that use a model end; then it goes."""
        loaded.is_retired = True
        if not loaded.leases:
            self._spawn(loaded.model.engine.stop(0))

    async def _look_after(self) -> None:
        """Replace engines that found another checkpoint when they were restarted; and watch."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                if self._watches:
                    await self.reload_changed()
                await self._replace_stale()
            except Exception:
                logger.exception("looking after the models failed; going on")

    async def _replace_stale(self) -> None:
        for entry in list(self._entries.values()):
            loaded = entry.loaded
            if loaded is None or entry.fingerprint() == entry.refused:
                continue
            if isinstance(loaded.model.engine.fault, CheckpointReplacedError):
                with suppress(ReloadError):  # logged
                    await self.reload(entry.name)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
