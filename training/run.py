"""From a command's arguments to a finished run: tokenizer, shards, trainer."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.architectures import build_model
from models.checkpoint import TOKENIZER, Checkpoint, load_checkpoint
from models.tokenizer import Tokenizer
from training.config import TrainConfig
from training.corpus import Source, empty_corpus, parse_source, read_sources
from training.data import TokenStreams
from training.distributed import Workers, join, say
from training.learner import Learner
from training.publish import Origin, Publisher
from training.run_state import recover_run
from training.sample import KeptDocuments, LineSample
from training.shards import Shard, token_dtype, write_shard
from training.trainer import Outcome, Trainer

_VALID_STREAMS = 16


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run needs to know beyond its configuration.

    init_from: checkpoint to begin with, its tokenizer kept. license, command: for the model card.
    """

    corpus: Sequence[str]
    valid: Sequence[str]
    out: Path
    config: TrainConfig
    tokenizer: Path | None = None
    init_from: Path | None = None
    resume: bool = False
    device: str = "auto"
    processes: int = 1
    license: str = "not stated"
    command: Sequence[str] = ()


def run_folder(out: Path) -> Path:
    """Where a run keeps its shards, resumable state and logs: beside the checkpoint."""
    return out.with_name(out.name + ".run")


def run_training(request: RunRequest) -> Outcome:
    """Tokenizer -> shards -> training; raises ValueError, RuntimeError or OSError."""
    with join(request.device) as workers:
        if workers.is_main:
            prepare(request)
        workers.wait()
        return _train(request, workers)


def prepare(request: RunRequest) -> None:
    """Everything on disk that training reads: folder, tokenizer, shards."""
    folder = run_folder(request.out)
    corpus = [parse_source(argument) for argument in request.corpus]
    valid = [parse_source(argument) for argument in request.valid]
    prepare_folder(request, folder)
    with KeptDocuments(folder / "train.documents") as kept:
        tokenizer = given_tokenizer(request, folder)
        read = None if tokenizer is not None else kept
        if tokenizer is None:
            say("training the tokenizer")
            tokenizer = train_tokenizer(request.config, corpus, kept)
        tokenizer.save(folder / TOKENIZER)
        for name, sources, documents in (("train", corpus, read), ("valid", valid, None)):
            write_shard(
                sources,
                tokenizer,
                folder / f"{name}.tokens",
                documents=documents,
                assistant_only=request.config.chat.loss_on == "assistant",
                processes=request.processes,
            )


def _train(request: RunRequest, workers: Workers) -> Outcome:
    folder, loop = run_folder(request.out), request.config.loop
    tokenizer = Tokenizer.from_file(folder / TOKENIZER)
    masked = request.config.chat.loss_on == "assistant"
    shards = {
        name: Shard(
            folder / f"{name}.tokens",
            folder / f"{name}.counted" if masked else None,
            tokenizer.vocab_size,
        )
        for name in ("train", "valid")
    }
    train = TokenStreams(
        shards["train"], loop.batch_size, loop.seed, workers.share(loop.batch_size)
    )
    origin = _origin(request, len(train), tokenizer)
    valid = valid_streams(shards["valid"], workers)
    torch.manual_seed(loop.seed)
    model = build_model(request.config.model.to_model_config(tokenizer.vocab_size))
    if origin.weights is not None:
        model.load_state_dict({k: torch.from_numpy(v) for k, v in origin.weights.items()})
    learner = Learner(request.config, model.to(workers.device), train, workers)
    publisher = Publisher(request.config, tokenizer, origin, request.out)
    trainer = Trainer(learner, valid, publisher, folder)
    resumed = request.resume and trainer.resume()
    if request.resume and not resumed:
        say(f"nothing to resume in {folder}: starting from the beginning")
    parameters = sum(p.numel() for p in model.parameters())
    passes = loop.max_tokens / len(train)
    say(f"{len(train):,} training tokens, {parameters:,} parameters, {passes:.2f} passes")
    return trainer.run()


def prepare_folder(request: RunRequest, folder: Path) -> None:
    """Refuse to overwrite a run by accident; keep the configuration beside it."""
    recover_run(folder, request.out)
    if (folder / "state").exists() and not request.resume:
        raise ValueError(f"{folder} holds a run already: use --resume, another --out, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "config.json", request.config.model_dump_json(indent=2)
    if request.resume and path.exists() and path.read_text("utf-8") != text:
        raise ValueError(
            f"--resume needs the settings that the run began with; they are in {path}. "
            "Repeat the first command's --preset and --set"
        )
    path.write_text(text, encoding="utf-8")


def given_tokenizer(request: RunRequest, folder: Path) -> Tokenizer | None:
    """The tokenizer of the base, the one named, or that of the run being resumed, if any."""
    if request.init_from is not None:
        return _base(request, request.init_from).tokenizer
    if request.tokenizer is not None:
        return Tokenizer.from_file(request.tokenizer)
    kept = folder / TOKENIZER
    return Tokenizer.from_file(kept) if kept.exists() else None


def train_tokenizer(
    config: TrainConfig, corpus: Sequence[Source], kept: KeptDocuments
) -> Tokenizer:
    """A tokenizer trained on a sample of the corpus, whose documents are kept on the way."""
    settings = config.tokenizer
    sample = LineSample(settings.sample_bytes, config.loop.seed)
    for document in kept.keep(read_sources(corpus)):
        sample.add(document)
    if not (lines := sample.lines()):
        raise empty_corpus(corpus)
    return Tokenizer.train(
        lines,
        vocab_size=settings.vocab_size,
        model_type=settings.model_type,
        character_coverage=settings.character_coverage,
        normalizer=settings.normalizer,
    )


def _base(request: RunRequest, folder: Path) -> Checkpoint:
    """The checkpoint to begin with; ValueError where it is of another shape or vocabulary."""
    base = load_checkpoint(folder)
    if request.tokenizer is not None:
        given = Tokenizer.from_file(request.tokenizer)
        if given.model_bytes != base.tokenizer.model_bytes:
            raise ValueError(
                f"--tokenizer {request.tokenizer} is not the tokenizer of --init-from {folder}, "
                "whose weights know no other: leave --tokenizer out"
            )
    wanted = request.config.model.to_model_config(base.model.vocab_size)
    mine, theirs = wanted.to_dict(), base.model.to_dict()
    if different := {k: v for k, v in theirs.items() if mine[k] != v}:
        there = " ".join(
            f"model.{k}={str(v).lower() if isinstance(v, bool) else str(v).replace(' ', '')}"
            for k, v in different.items()
        )
        raise ValueError(
            f"--init-from {folder} has another shape than the settings ask for: "
            f"choose its own preset, or add --set {there}"
        )
    return base


def _origin(request: RunRequest, train_tokens: int, tokenizer: Tokenizer) -> Origin:
    base = None if request.init_from is None else _base(request, request.init_from)
    assert base is None or base.tokenizer.model_bytes == tokenizer.model_bytes
    return Origin(
        corpus=tuple(map(_source_name, request.corpus)),
        valid=tuple(map(_source_name, request.valid)),
        train_tokens=train_tokens,
        license=request.license,
        command=shlex.join(["python", "-m", "training", *map(_source_name, request.command)]),
        base=None if base is None else base.digest,
        weights=None if base is None else base.weights,
    )


def _source_name(argument: str) -> str:
    """A path as others know it: the file and the folder it lies in."""
    return "/".join(Path(argument).parts[-2:]) if argument.startswith("/") else argument


def valid_streams(shard: Shard, workers: Workers) -> TokenStreams:
    """Validation text in a few parallel streams, shared by the processes; fewer if it is short."""
    tokens = shard.tokens.stat().st_size // np.dtype(token_dtype(shard.vocab_size)).itemsize
    for streams in (_VALID_STREAMS, 4):
        if streams % workers.size == 0 and tokens >= 64 * streams:
            return TokenStreams(shard, streams, seed=0, mine=workers.share(streams))
    return TokenStreams(shard, 1, seed=0, mine=slice(0, 1) if workers.is_main else slice(0, 0))
