"""Before training: what the corpus is, the settings that fit it, tokenizer and shards, on disk.

All that a run depends on lies in its folder afterwards: `config.json` (every setting resolved),
`request.json` (those that were asked for), `identity.json` (digests of tokenizer and text), the
tokenizer and the shards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch

from models.checkpoint import TOKENIZER
from models.tokenizer import Tokenizer
from training.config import AUTO, TrainConfig
from training.corpus import Document, Source, empty_corpus, read_sources
from training.distributed import say
from training.resolution import (
    CONFIG,
    resolved_config,
    resumed_config,
    stored_config,
    with_length,
    write_config,
)
from training.run_request import RunRequest, Settings, base_of
from training.run_state import recover_run
from training.sample import KeptDocuments, LineSample
from training.shards import Shard, fingerprint, write_shard
from training.survey import CorpusFacts, Overlap, Split, survey

REQUEST, IDENTITY, FACTS = "request.json", "identity.json", "corpus.json"
_MUCH_OVERLAP = 0.1


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
        config = resumed_config(request)
        shard, _ = shards_of(folder, config, given.vocab_size)
        write_config(folder, with_length(config, num_bytes, shard))
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
        config = resumed_config(request) if goes_on else resolved_config(request, facts, device)
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
    write_config(folder, with_length(config, facts.bytes, shard))


def shards_of(folder: Path, config: TrainConfig, vocab_size: int) -> tuple[Shard, Shard]:
    """Training and validation shard of a prepared run."""
    masked = config.chat.loss_on == "assistant"

    def shard(name: str) -> Shard:
        counted = folder / f"{name}.counted" if masked else None
        return Shard(folder / f"{name}.tokens", counted, vocab_size)

    return shard("train"), shard("valid")


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
