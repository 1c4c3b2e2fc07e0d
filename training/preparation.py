"""Before training: what the corpus is, the settings that fit it, tokenizer and shards, on disk.

All that a run depends on lies in its folder afterwards: `config.json` (every setting resolved),
`request.json` (those that were asked for), `identity.json` (digests of tokenizer and text), the
tokenizer and the shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from models.checkpoint import TOKENIZER, Checkpoint, load_checkpoint
from models.tokenizer import Tokenizer
from training.config import (
    AUTO,
    BOUNDS,
    LENGTHS,
    PACE,
    TrainConfig,
    parse_config,
    preset_values,
    with_overrides,
)
from training.corpus import Document, Source, empty_corpus, parse_sources, read_sources
from training.distributed import say
from training.precision import choose_precision
from training.run_state import recover_run
from training.sample import KeptDocuments, LineSample
from training.shards import Shard, fingerprint, write_shard
from training.sizing import MANY_PASSES, explain, passes_for, values_for
from training.survey import CorpusFacts, Overlap, Split, survey

CONFIG, REQUEST, IDENTITY, FACTS = "config.json", "request.json", "identity.json", "corpus.json"
_MUCH_OVERLAP = 0.1


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


def prepare(request: RunRequest, device: torch.device) -> None:
    """Everything on disk that training reads; ValueError where the request cannot be met."""
    folder = request.folder
    corpus, valid = request.sources(request.corpus), request.sources(request.valid)
    _claim_folder(request)
    given = _given_tokenizer(request)
    goes_on = request.resume and (folder / CONFIG).exists()
    trained_on = [*corpus, *request.sources(request.also)]
    if goes_on and given is not None and _is_current(request, (trained_on, valid or corpus), given):
        num_bytes = json.loads((folder / FACTS).read_text("utf-8"))["bytes"]
        config = _resumed_config(request)
        shard, _ = shards_of(folder, config, given.vocab_size)
        write_config(folder, _with_length(config, num_bytes, shard))
        return
    facts = CorpusFacts()
    with KeptDocuments(folder / "train.documents") as kept:
        for _ in kept.keep(survey(read_sources(corpus), facts, dedupe=request.dedupe)):
            pass
        if not facts.words:
            raise empty_corpus(corpus)
        say(f"read: {facts.describe()}")
        split = None if valid else Split(facts)
        if split is not None:
            say(f"validation text: {split.describe()} of the corpus (--valid names another)")
        config = _resumed_config(request) if goes_on else _resolve(request, facts, device)
        tokenizer = given
        if tokenizer is None:
            say("training the tokenizer")
            training_part = kept if split is None else split.train(kept)
            adjust = isinstance(request.config, Settings) and request.config.preset == AUTO
            tokenizer = train_tokenizer(config, training_part, adjust=adjust)
        tokenizer.save(folder / TOKENIZER)
        shard = _write_shards(request, config, tokenizer, (corpus, valid), kept, split)
    _check_identity(folder, tokenizer, resume=request.resume)
    (folder / FACTS).write_text(json.dumps(asdict(facts), ensure_ascii=False), encoding="utf-8")
    write_config(folder, _with_length(config, facts.bytes, shard))


def stored_config(folder: Path) -> TrainConfig:
    """The resolved settings of a prepared run."""
    return parse_config(json.loads((folder / CONFIG).read_text("utf-8")))


def write_config(folder: Path, config: TrainConfig) -> None:
    """Put settings where `stored_config` finds them."""
    (folder / CONFIG).write_text(config.model_dump_json(indent=2), encoding="utf-8")


def shards_of(folder: Path, config: TrainConfig, vocab_size: int) -> tuple[Shard, Shard]:
    """Training and validation shard of a prepared run."""
    masked = config.chat.loss_on == "assistant"

    def shard(name: str) -> Shard:
        counted = folder / f"{name}.counted" if masked else None
        return Shard(folder / f"{name}.tokens", counted, vocab_size)

    return shard("train"), shard("valid")


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


def train_tokenizer(
    config: TrainConfig, documents: Iterable[Document], *, adjust: bool = False
) -> Tokenizer:
    """A tokenizer trained on a sample of the documents.

    adjust: take the nearest vocabulary that the corpus allows, where it does not allow that asked.
    """
    settings = config.tokenizer
    sample = LineSample(settings.sample_bytes, config.loop.seed)
    for document in documents:
        sample.add(document)
    lines, size = sample.lines(), settings.vocab_size
    for _ in range(3):
        try:
            return Tokenizer.train(
                lines,
                vocab_size=size,
                model_type=settings.model_type,
                character_coverage=settings.character_coverage,
                normalizer=settings.normalizer,
            )
        except ValueError as error:
            limit = [word.strip(",;") for word in str(error).split() if word.strip(",;").isdigit()]
            if not adjust or len(limit) < 2:
                raise
            size = int(limit[-1])
            say(f"the corpus is small: {size} pieces instead of {settings.vocab_size}")
    raise ValueError(f"tokenizer.vocab_size: no size near {settings.vocab_size} fits the corpus")


def _claim_folder(request: RunRequest) -> None:
    """Refuse to overwrite a run by accident, or to go on with other settings."""
    folder = request.folder
    recover_run(folder, request.out)
    if (folder / "state").exists() and not request.resume:
        raise ValueError(f"{folder} holds a run already: use --resume, another --out, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    path, asked = folder / REQUEST, request.asked()
    if request.resume and path.exists() and json.loads(path.read_text("utf-8")) != asked:
        raise ValueError(
            f"--resume needs the settings that the run began with; they are in {path}. "
            "Repeat the first command's --preset and --set; only the length may differ"
        )
    path.write_text(json.dumps(asked, indent=2), encoding="utf-8")


def _given_tokenizer(request: RunRequest) -> Tokenizer | None:
    """The tokenizer of the base, the one named, or that of the run being resumed, if any."""
    kept = request.folder / TOKENIZER
    own = Tokenizer.from_file(kept) if request.resume and kept.exists() else None
    base = base_of(request)
    if base is not None:
        given: Tokenizer | None = base.tokenizer
    elif request.tokenizer is not None:
        given = Tokenizer.from_file(request.tokenizer)
    else:
        given = own
    if own is not None and given is not None and given.model_bytes != own.model_bytes:
        raise ValueError(
            f"--resume: the run in {request.folder} began with another tokenizer, and its weights "
            "know no other: repeat the first command"
        )
    return given


def _is_current(
    request: RunRequest, sources: tuple[list[Source], list[Source]], tokenizer: Tokenizer
) -> bool:
    """Whether the shards are what would be written again; of standard input nobody can tell."""
    folder = request.folder
    if not (folder / FACTS).exists():
        return False
    masked = stored_config(folder).chat.loss_on == "assistant"
    for name, read in zip(("train", "valid"), sources, strict=True):
        part = "" if request.valid else name
        record = (folder / f"{name}.tokens").with_suffix(".json")
        wanted = fingerprint(read, tokenizer, masked, part)
        if not record.exists() or json.loads(record.read_text("utf-8")) != wanted:
            return False
    return True


def _write_shards(
    request: RunRequest,
    config: TrainConfig,
    tokenizer: Tokenizer,
    sources: tuple[list[Source], list[Source]],
    kept: KeptDocuments,
    split: Split | None,
) -> Shard:
    """Both shards, and a warning where they share much text; returns that of training."""
    corpus, valid = sources
    folder, masked = request.folder, config.chat.loss_on == "assistant"
    held_out = read_sources(valid) if split is None else split.valid(kept)
    with KeptDocuments(folder / "valid.documents") as kept_valid:
        overlap = Overlap(kept_valid.keep(held_out))
        write_shard(
            valid if split is None else corpus,
            tokenizer,
            folder / "valid.tokens",
            documents=kept_valid,
            assistant_only=masked,
            part="" if split is None else "valid",
        )
    own = overlap.look_at(kept if split is None else split.train(kept))
    documents = chain(own, read_sources(request.sources(request.also)))
    shard = write_shard(
        [*corpus, *request.sources(request.also)],
        tokenizer,
        folder / "train.tokens",
        documents=documents,
        assistant_only=masked,
        processes=request.processes,
        part="" if split is None else "train",
    )
    if overlap.share > _MUCH_OVERLAP:
        say(
            f"WARNING: {overlap.share:.0%} of the validation text's lines stand word for word in "
            "the training text: the validation loss will flatter the model"
        )
    return shard


def _check_identity(folder: Path, tokenizer: Tokenizer, *, resume: bool) -> None:
    """Refuse to go on with another text than the run began with; keep what it is."""
    identity = {"tokenizer": hashlib.sha256(tokenizer.model_bytes).hexdigest()}
    for name in ("train", "valid"):
        with (folder / f"{name}.tokens").open("rb") as file:
            identity[name] = hashlib.file_digest(file, "sha256").hexdigest()
    path = folder / IDENTITY
    if resume and path.exists() and (folder / "state").exists():
        before = json.loads(path.read_text("utf-8"))
        options = {"train": "--corpus", "valid": "--valid", "tokenizer": "--tokenizer"}
        different = [options[name] for name, digest in identity.items() if before[name] != digest]
        if different:
            raise ValueError(
                f"--resume: {' and '.join(different)} is not what the run in {folder} began with: "
                "repeat the first command, or begin another run with another --out"
            )
    path.write_text(json.dumps(identity, indent=2), encoding="utf-8")


def _resolve(request: RunRequest, facts: CorpusFacts, device: torch.device) -> TrainConfig:
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


def _resumed_config(request: RunRequest) -> TrainConfig:
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


def _with_length(config: TrainConfig, num_bytes: int, shard: Shard) -> TrainConfig:
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
