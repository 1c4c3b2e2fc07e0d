"""A run from a request to its checkpoint and report."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch

from models.architectures import build_model
from models.checkpoint import TOKENIZER
from models.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.config import TrainConfig
from training.data import TokenStreams
from training.distributed import Workers, join, say
from training.finish import finish
from training.learner import Learner
from training.pace import tokens_per_second, within_minutes
from training.preparation import prepare, shards_of
from training.publish import Origin, Publisher
from training.resolution import stored_config, write_config
from training.run_request import RunRequest, base_of
from training.shards import Shard
from training.trainer import Outcome, Trainer

_VALID_STREAMS = 16


def run_training(request: RunRequest) -> Outcome:
    """Tokenizer -> shards -> training -> report; raises ValueError, RuntimeError or OSError."""
    with join(request.device) as workers:
        if workers.is_main:
            prepare(request, workers.device)
        workers.wait()
        outcome = train_prepared(request, workers)
        if workers.is_main and request.out.exists():
            finish(request.out, request.folder)
        return outcome


def train_prepared(request: RunRequest, workers: Workers) -> Outcome:
    """Train on what `prepare` left in the run's folder."""
    folder = request.folder
    config = stored_config(folder)
    loop = config.loop
    tokenizer = Tokenizer.from_file(folder / TOKENIZER)
    train_shard, valid_shard = shards_of(folder, config, tokenizer.vocab_size)

    def new_learner(config: TrainConfig) -> Learner:
        share = workers.share(loop.batch_size)
        train = TokenStreams(train_shard, loop.batch_size, loop.seed, share)
        model = new_model(request, config, tokenizer.vocab_size)
        return Learner(config, model.to(workers.device), train, workers)

    if loop.minutes and not (request.resume and (folder / "state").exists()):
        speed = tokens_per_second(new_learner(config))
        config = within_minutes(config, speed, train_shard.num_tokens)
        if workers.is_main:
            write_config(folder, config)
    learner = new_learner(config)
    train = learner.data
    origin = _origin(request, len(train))
    publisher = Publisher(config, tokenizer, origin, request.out)
    trainer = Trainer(learner, valid_streams(valid_shard, workers), publisher, folder)
    resumed = request.resume and trainer.resume()
    if request.resume and not resumed:
        say(f"nothing to resume in {folder}: starting from the beginning")
    parameters = sum(p.numel() for p in learner.state.model.parameters())
    passes = config.loop.max_tokens / len(train)
    say(f"{len(train):,} training tokens, {parameters:,} parameters, {passes:.2f} passes")
    return trainer.run()


def new_model(request: RunRequest, config: TrainConfig, vocab_size: int) -> LanguageModel:
    """The network as training begins: fresh from the seed, or with the weights of the base."""
    torch.manual_seed(config.loop.seed)
    model = build_model(config.model.to_model_config(vocab_size))
    if (base := base_of(request)) is not None:
        model.load_state_dict({k: torch.from_numpy(v) for k, v in base.weights.items()})
    return model


def _origin(request: RunRequest, train_tokens: int) -> Origin:
    base = base_of(request)
    return Origin(
        corpus=tuple(map(_source_name, request.corpus)),
        valid=tuple(map(_source_name, request.valid)) or ("a part taken off the corpus",),
        train_tokens=train_tokens,
        license=request.license,
        command=shlex.join(["lstm-train", *map(_source_name, request.command)]),
        base=None if base is None else base.digest,
    )


def _source_name(argument: str) -> str:
    """A path as others know it: the file and the folder it lies in."""
    return "/".join(Path(argument).parts[-2:]) if argument.startswith("/") else argument


def valid_streams(shard: Shard, workers: Workers) -> TokenStreams:
    """Validation text in a few parallel streams, shared by the processes; fewer if it is short."""
    for streams in (_VALID_STREAMS, 4):
        if streams % workers.size == 0 and shard.num_tokens >= 64 * streams:
            return TokenStreams(shard, streams, seed=0, mine=workers.share(streams))
    return TokenStreams(shard, 1, seed=0, mine=slice(0, 1) if workers.is_main else slice(0, 0))
