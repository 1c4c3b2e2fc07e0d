"""From the settings that a run is asked for to those that it has: for its corpus, its base, its
device, and what it was before it was cut off."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from models.checkpoint import Checkpoint
from training.config import BOUNDS, LENGTHS, PACE, TrainConfig, parse_config, with_overrides
from training.distributed import say
from training.precision import choose_precision
from training.run_request import RunRequest, Settings, base_of
from training.shards import Shard
from training.sizing import MANY_PASSES, passes_for
from training.survey import CorpusFacts

CONFIG = "config.json"  # in the run's folder: every setting resolved


def stored_config(folder: Path) -> TrainConfig:
    """The resolved settings of a prepared run."""
    return parse_config(json.loads((folder / CONFIG).read_text("utf-8")))


def write_config(folder: Path, config: TrainConfig) -> None:
    """Put settings where `stored_config` finds them."""
    (folder / CONFIG).write_text(config.model_dump_json(indent=2), encoding="utf-8")


def resolved_config(request: RunRequest, facts: CorpusFacts, device: torch.device) -> TrainConfig:
    """The settings asked for, with what they leave open decided; ValueError where the base has
    another shape."""
    config, base = request.config, base_of(request)
    if isinstance(config, Settings):
        config = config.resolve(facts, base)
    if base is not None:
        _check_shape(config, base, request)
    chat = config.chat.enabled
    if chat == "auto":
        chat = facts.with_assistant > 0 or (base is not None and base.chat_template is not None)
    elif chat and not facts.with_assistant:
        say("WARNING: chat.enabled, but the corpus has no dialogue in which an assistant speaks")
    precision = choose_precision(config.loop.precision, device)
    values = config.model_dump(mode="json")
    values["chat"]["enabled"] = chat
    if config.chat.system_prompts == "auto":
        values["chat"]["system_prompts"] = _taught(facts, base)
    values["loop"]["precision"] = precision
    return parse_config(values)


def _taught(facts: CorpusFacts, base: Checkpoint | None) -> list[str] | None:
    """System prompts that the model will know: the corpus's, and those that the base was taught."""
    template = None if base is None else base.chat_template
    if template is None:
        return facts.kinds_of_talk
    before = template.get("system_prompts")
    if before is None or not facts.system_prompts:
        return before
    new = facts.kinds_of_talk
    return None if new is None else sorted({*before, *new})


def resumed_config(request: RunRequest) -> TrainConfig:
    """The run's own settings with the pace that is asked for now; a new length is open again."""
    stored = json.loads((request.folder / CONFIG).read_text("utf-8"))
    if isinstance(request.config, Settings):
        pace = [o for o in request.config.overrides if o.partition("=")[0] in PACE]
        bound = [o for o in pace if o.partition("=")[0] == "loop.minutes"]
        if bound and float(bound[-1].partition("=")[2]) != stored["loop"].get("minutes", 0):
            raise ValueError(
                "--resume: --minutes bounds a run from its beginning; to go on for longer, leave "
                "it out and say how many passes it shall have in all, --epochs"
            )
        if bound:  # what they allow was decided then, of the passes asked for
            pace = [o for o in pace if o.partition("=")[0] not in BOUNDS]
        elif any(o.partition("=")[0] in LENGTHS for o in pace):
            stored["loop"] |= {"epochs": 0, "max_tokens": 0, "minutes": 0}
        return with_overrides(stored, pace)
    asked = request.config.model_dump(mode="json")["loop"]
    stored["loop"] |= {k: v for k, v in asked.items() if f"loop.{k}" in PACE}
    return parse_config(stored)


def with_length(config: TrainConfig, num_bytes: int, shard: Shard) -> TrainConfig:
    """The settings with max_tokens resolved; says so where it is a lot for the corpus."""
    loop, tokens = config.loop, shard.num_tokens
    total = loop.max_tokens or round((loop.epochs or passes_for(num_bytes)) * tokens)
    if total > 1.05 * MANY_PASSES * tokens:
        say(
            f"WARNING: {total / tokens:.0f} passes over so little text: beyond {MANY_PASSES} a "
            "model learns it by heart; --epochs sets another length"
        )
    values = config.model_dump(mode="json")
    values["loop"] |= {"max_tokens": total, "epochs": total / tokens}
    return parse_config(values)


def _check_shape(config: TrainConfig, base: Checkpoint, request: RunRequest) -> None:
    mine = config.model.to_model_config(base.model.vocab_size).to_dict()
    if different := {k: v for k, v in base.model.to_dict().items() if mine[k] != v}:
        there = " ".join(
            f"model.{k}={str(v).lower() if isinstance(v, bool) else str(v).replace(' ', '')}"
            for k, v in different.items()
        )
        raise ValueError(
            f"--init-from {request.init_from} has another shape than the settings ask for: "
            f"choose its own preset, or add --set {there}"
        )
