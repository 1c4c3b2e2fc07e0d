"""The models that are compared: ours, and a Llama with as many parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness import SHIPPED
from benchmarks.model_s import MODEL_S, random_weights
from benchmarks.peers.llama_model import LlamaShape, write_llama
from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Size:
    """suffix: of the figures' names."""

    suffix: str
    ours: ModelConfig
    llama: LlamaShape


SIZES = {
    "8m": Size(
        suffix="",
        ours=MODEL_S,
        llama=LlamaShape(width=320, layers=5, heads=5, inner=768),
    ),
    "25m": Size(
        suffix="_25m",
        ours=ModelConfig(vocab_size=8192, embedding_size=1024, hidden_sizes=(1024, 1024)),
        llama=LlamaShape(width=512, layers=6, heads=8, inner=1600),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Models:
    """A checkpoint of ours, and a GGUF file."""

    ours: Path
    llama: Path


def write_models(size: Size, folder: Path) -> Models:
    """Both with the shipped tokenizer and template; the shipped checkpoint itself where it fits."""
    shipped = load_checkpoint(SHIPPED)
    llama = folder / "llama.gguf"
    write_llama(llama, size.llama, shipped)
    if shipped.model == size.ours:
        return Models(ours=SHIPPED, llama=llama)
    ours = folder / "ours"
    save_checkpoint(_random_checkpoint(shipped, size.ours), ours)
    return Models(ours=ours, llama=llama)


def _random_checkpoint(like: Checkpoint, model: ModelConfig) -> Checkpoint:
    return replace(
        like,
        model=model,
        weights=random_weights(model),
        storage="int8",
        metrics={},
        card="Random weights, for benchmarks.",
        digest="",
    )
