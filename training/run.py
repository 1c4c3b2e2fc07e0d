"""From a command's arguments to a finished run: tokenizer, shards, trainer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from models.checkpoint import TOKENIZER
from models.tokenizer import Tokenizer
from training.config import TrainConfig
from training.corpus import CorpusError, Source, parse_source, read_source
from training.data import TokenStreams, write_tokens
from training.trainer import Outcome, Trainer, run_folder, valid_streams


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What a run needs to know beyond its configuration."""

    corpus: Sequence[str]
    valid: Sequence[str]
    out: Path
    config: TrainConfig
    tokenizer: Path | None = None
    resume: bool = False
    device: str = "auto"
    processes: int = 1


def run_training(request: RunRequest) -> Outcome:
    """Tokenizer -> token files -> training; raises ValueError or RuntimeError with a clear text."""
    folder = run_folder(request.out)
    corpus = [parse_source(argument) for argument in request.corpus]
    valid = [parse_source(argument) for argument in request.valid]
    prepare_folder(request, folder)
    tokenizer = obtain_tokenizer(request, corpus, folder)
    files = {
        name: write_tokens(
            sources, tokenizer, folder / f"{name}.tokens", processes=request.processes
        )
        for name, sources in (("train", corpus), ("valid", valid))
    }
    loop = request.config.loop
    streams = TokenStreams(files["train"], tokenizer.vocab_size, loop.batch_size, loop.seed)
    trainer = Trainer(
        request.config,
        tokenizer,
        streams,
        valid_streams(files["valid"], tokenizer.vocab_size),
        request.out,
        choose_device(request.device),
    )
    if request.resume and not trainer.resume():
        tqdm.write(f"nothing to resume in {folder}: starting from the beginning")
    tqdm.write(
        f"{len(streams):,} training tokens, {sum(p.numel() for p in trainer.model.parameters()):,} "
        f"parameters, {loop.max_tokens / len(streams):.2f} passes"
    )
    return trainer.run()


def prepare_folder(request: RunRequest, folder: Path) -> None:
    """Refuse to overwrite a run by accident; keep the configuration beside it."""
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


def obtain_tokenizer(request: RunRequest, corpus: Sequence[Source], folder: Path) -> Tokenizer:
    """The tokenizer given, that of the run being resumed, or one trained on the corpus."""
    kept = folder / TOKENIZER
    if request.tokenizer is not None:
        tokenizer = Tokenizer.from_file(request.tokenizer)
    elif kept.exists():
        return Tokenizer.from_file(kept)
    else:
        tqdm.write("training the tokenizer")
        settings = request.config.tokenizer
        tokenizer = Tokenizer.train(
            sample_lines(corpus, settings.sample_bytes, request.config.loop.seed),
            vocab_size=settings.vocab_size,
            model_type=settings.model_type,
            character_coverage=settings.character_coverage,
            normalizer=settings.normalizer,
        )
    tokenizer.save(kept)
    return tokenizer


def sample_lines(corpus: Sequence[Source], sample_bytes: int, seed: int) -> Iterator[str]:
    """About `sample_bytes` of lines, drawn evenly over all sources, the same for the same seed."""
    total = sum(len(line) for line in _lines(corpus))
    if not total:
        raise CorpusError(
            f"the corpus is empty: {', '.join(str(s.path) for s in corpus)} hold no text"
        )
    draw, share = random.Random(seed), sample_bytes / total
    for line in _lines(corpus):
        if draw.random() < share:
            yield line


def _lines(corpus: Sequence[Source]) -> Iterator[str]:
    for source in corpus:
        for document in read_source(source):
            texts = [turn.content for turn in document.turns] or document.text.split("\n")
            yield from filter(None, texts)


def choose_device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU on this machine")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
