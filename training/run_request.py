"""What a run is asked for: corpus, place, settings, and the checkpoint that it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.checkpoint import Checkpoint, load_checkpoint
from models.tokenizer import Tokenizer
from training.config import AUTO, PACE, TrainConfig, preset_values, with_overrides
from training.corpus import Source, parse_sources
from training.distributed import say
from training.sizing import explain, values_for
from training.survey import CorpusFacts


@dataclass(frozen=True)
class Settings:
    """Settings by preset and overrides; with the preset "auto" they wait for the corpus."""

    preset: str = AUTO
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Wrong names are told before anything is read."""
        with_overrides({} if self.preset == AUTO else preset_values(self.preset), self.overrides)

    def resolve(self, facts: CorpusFacts, base: Checkpoint | None = None) -> TrainConfig:
        """Of "auto": for the corpus, in the shape of `base` where a run begins from one."""
        if self.preset != AUTO:
            return with_overrides(preset_values(self.preset), self.overrides)
        values = values_for(facts)
        if base is not None:
            values["model"] = model_values(base)
        say(explain(facts, values))
        return with_overrides(values, self.overrides)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run needs to know.

    valid: none takes a part off the corpus. also: sources that are trained on and never held out.
    init_from: checkpoint to begin with, its tokenizer kept. text_key, column: where the text is in
    objects and tables, for sources that do not say. dedupe: drop documents that came before.
    license, command: for the model card.
    """

    corpus: Sequence[str]
    out: Path
    config: TrainConfig | Settings = field(default_factory=Settings)
    valid: Sequence[str] = ()
    also: Sequence[str] = ()
    tokenizer: Path | None = None
    init_from: Path | None = None
    resume: bool = False
    device: str = "auto"
    processes: int = 1
    dedupe: bool = False
    text_key: str = "text"
    column: str = ""
    license: str = "not stated"
    command: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """Where a run keeps its shards, resumable state and logs: beside the checkpoint."""
        return self.out.with_name(self.out.name + ".run")

    def sources(self, arguments: Sequence[str]) -> list[Source]:
        return parse_sources(arguments, Source(path=Path(), key=self.text_key, column=self.column))

    def asked(self) -> dict[str, Any]:
        """The settings as they were asked for, without what a run that goes on may change."""
        if isinstance(self.config, Settings):
            kept = sorted(o for o in self.config.overrides if o.partition("=")[0] not in PACE)
            return {"preset": self.config.preset, "overrides": kept}
        values = self.config.model_dump(mode="json")
        loop = {k: v for k, v in values["loop"].items() if f"loop.{k}" not in PACE}
        return values | {"loop": loop}


def base_of(request: RunRequest) -> Checkpoint | None:
    """The checkpoint to begin with, if any; ValueError where --tokenizer is not its own."""
    if request.init_from is None:
        return None
    base = load_checkpoint(request.init_from)
    if request.tokenizer is not None:
        given = Tokenizer.from_file(request.tokenizer)
        if given.model_bytes != base.tokenizer.model_bytes:
            raise ValueError(
                f"--tokenizer {request.tokenizer} is not the tokenizer of --init-from "
                f"{request.init_from}, whose weights know no other: leave --tokenizer out"
            )
    return base


def model_values(base: Checkpoint) -> dict[str, Any]:
    """The settings' model section of a checkpoint."""
    values = {k: v for k, v in base.model.to_dict().items() if k != "vocab_size"}
    return values | {"storage": base.storage}
