"""A checkpoint is a folder, written whole or not at all, and verified when it is read.

    config.json          form, model shape, tokenizer, chat template, sampling defaults, digests
    model.safetensors    weights, float32, float16 or int8 rows (see weights.py)
    tokenizer.model      SentencePiece model
    metrics.json         measured quality
    README.md            model card

Nothing here is executable (no pickle) and nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from models.atomic_folder import previous, replacing
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from models.weights import Storage, Weights, pack, unpack

FORMAT = "lstm-serve/checkpoint"
FORMAT_VERSION = 1
CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.model"
METRICS, CARD = "metrics.json", "README.md"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model ready for any reader: shape, numbers, tokenizer, and what is known about it.

    weights: float32 arrays by parameter name, in the layout of `LSTMLanguageModel.state_dict`.
    chat_template: roles and end-of-turn control pieces by name; None where chat was not trained.
    sampling_defaults: sampling fields applied where a request sets none.
    training: the resolved training configuration, for the record.
    digest: "sha256:..." over shape, weights and tokenizer; "" before the first save.
    """

    model: ModelConfig
    weights: Weights
    tokenizer: Tokenizer
    storage: Storage = "float32"
    chat_template: Mapping[str, Any] | None = None
    sampling_defaults: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    digest: str = ""


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> str:
    """Write `checkpoint` to `folder` atomically, replacing what stood there; returns the digest.

    A crash at any moment leaves the old checkpoint or the new one, never a mixture.
    """
    with replacing(folder) as staging:
        return _write_files(checkpoint, staging)


def _write_files(checkpoint: Checkpoint, folder: Path) -> str:
    stored = pack(checkpoint.weights, checkpoint.storage)
    # Not save_file, which keeps the file from other users and hides the reason of a failure.
    (folder / WEIGHTS).write_bytes(safetensors.numpy.save(stored, metadata={"format": FORMAT}))
    checkpoint.tokenizer.save(folder / TOKENIZER)
    files = {name: _sha256(folder / name) for name in (WEIGHTS, TOKENIZER)}
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "digest": _digest(checkpoint.model.to_dict(), files),
        "model": checkpoint.model.to_dict(),
        "storage": checkpoint.storage,
        "files": files,
        "chat_template": checkpoint.chat_template,
        "sampling_defaults": dict(checkpoint.sampling_defaults),
        "training": dict(checkpoint.training),
    }
    texts = {CONFIG: _json(config), METRICS: _json(checkpoint.metrics), CARD: checkpoint.card}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return str(config["digest"])


def record_metrics(folder: Path, metrics: Mapping[str, Any], card: str) -> None:
    """Put other metrics and another card into a checkpoint; its weights and digest stay."""
    read_config(folder)
    for name, text in ((METRICS, _json(metrics)), (CARD, card)):
        fresh = folder / f".{name}.saving"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(folder / name)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read and verify a checkpoint; raises `CheckpointError` where anything does not fit."""
    config = read_config(folder)
    for name, expected in config["files"].items():
        _verify_file(folder / name, expected)
    try:
        model = ModelConfig.from_dict(config["model"])
        if config["digest"] != _digest(config["model"], config["files"]):
            raise CheckpointError(
                f"{folder / CONFIG} was altered: its digest does not fit the shape and files it "
                "names; restore the folder from its source"
            )
        tokenizer = Tokenizer.from_file(folder / TOKENIZER)
        weights = unpack(safetensors.numpy.load_file(folder / WEIGHTS))
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be read: {error}") from error
    _verify_fit(folder, model, weights, tokenizer)
    return Checkpoint(
        model=model,
        weights=weights,
        tokenizer=tokenizer,
        storage=config["storage"],
        chat_template=config.get("chat_template"),
        sampling_defaults=config.get("sampling_defaults") or {},
        training=config.get("training") or {},
        metrics=_read_json(folder / METRICS) if (folder / METRICS).exists() else {},
        card=(folder / CARD).read_text("utf-8") if (folder / CARD).exists() else "",
        digest=config["digest"],
    )


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a checkpoint, checked for form and version, weights left unread."""
    if not folder.is_dir():
        aside = previous(folder)
        hint = f"; a save was cut short: rename {aside} to it" if aside.is_dir() else ""
        raise CheckpointError(f"no checkpoint at {folder}: there is no such folder{hint}")
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder} is no checkpoint: it has no {CONFIG}")
    config = _read_json(folder / CONFIG)
    if config.get("format") != FORMAT:
        raise CheckpointError(f"{folder / CONFIG} is not of the form {FORMAT!r}")
    version = config.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {folder} has format version {version}, newer than the {FORMAT_VERSION} "
            "that this release reads: upgrade lstm-serve"
        )
    if missing := sorted({"digest", "model", "files", "storage"} - set(config)):
        raise CheckpointError(f"{folder / CONFIG} lacks {', '.join(missing)}")
    if not isinstance(config["files"], dict) or set(config["files"]) != {WEIGHTS, TOKENIZER}:
        raise CheckpointError(f"{folder / CONFIG} must name {WEIGHTS} and {TOKENIZER} in 'files'")
    if not all(isinstance(digest, str) for digest in config["files"].values()):
        raise CheckpointError(f"{folder / CONFIG} must give a sha256 for each of 'files'")
    return config


def _verify_file(path: Path, expected: str) -> None:
    if not path.is_file():  # nor a pipe, which would be waited for
        raise CheckpointError(f"checkpoint is incomplete: {path} is missing; copy it again")
    if (actual := _sha256(path)) != expected:
        raise CheckpointError(
            f"{path} is damaged or belongs to another checkpoint: its sha256 is {actual[:12]}..., "
            f"config.json expects {expected[:12]}...; copy the folder again from its source"
        )


def expected_shapes(model: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of `model`."""
    names = {
        "lstm": ("weight_ih", "weight_hh", "bias"),
        "elman": ("weight_ih", "weight_hh", "bias"),
        "window_mlp": ("weight", "bias"),
    }[model.architecture]
    gates = 4 if model.architecture == "lstm" else 1
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (model.vocab_size, model.embedding_size)
    }
    for k, (inputs, hidden) in enumerate(zip(model.input_sizes, model.hidden_sizes, strict=True)):
        sizes = {"weight_hh": (gates * hidden, hidden), "bias": (gates * hidden,)}
        for name in names:
            shapes[f"layers.{k}.{name}"] = sizes.get(name, (gates * hidden, inputs))
    if not model.tie_weights:
        shapes |= _output_shapes(model)
    return shapes


def num_parameters(model: ModelConfig) -> int:
    """Trainable numbers of a network of any architecture; tied matrices count once."""
    return sum(math.prod(shape) for shape in expected_shapes(model).values())


def _output_shapes(model: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Of the softmax's own parameters."""
    width, cutoffs = model.hidden_sizes[-1], model.adaptive_cutoffs
    if not cutoffs:
        return {"output.weight": (model.vocab_size, width)}
    shapes: dict[str, tuple[int, ...]] = {"output.head.weight": (cutoffs[0] + len(cutoffs), width)}
    for k, (low, high) in enumerate(pairwise((*cutoffs, model.vocab_size))):
        narrow = model.cluster_width(k)
        shapes[f"output.tail.{k}.0.weight"] = (narrow, width)
        shapes[f"output.tail.{k}.1.weight"] = (high - low, narrow)
    return shapes


def _verify_fit(folder: Path, model: ModelConfig, weights: Weights, tokenizer: Tokenizer) -> None:
    expected = expected_shapes(model)
    if set(weights) != set(expected):
        odd = ", ".join(sorted(set(weights) ^ set(expected)))
        raise CheckpointError(f"weights of {folder} do not fit its config.json: see {odd}")
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise CheckpointError(
                f"weights of {folder} do not fit its config.json: {name} is "
                f"{weights[name].shape}, expected {shape}"
            )
        if not np.isfinite(weights[name]).all():
            raise CheckpointError(
                f"weights of {folder} hold NaN or infinity, in {name}: the training has diverged "
                "or the file is damaged"
            )
    if tokenizer.vocab_size != model.vocab_size:
        raise CheckpointError(
            f"tokenizer of {folder} has {tokenizer.vocab_size} pieces, its model "
            f"{model.vocab_size}: they are not of the same checkpoint"
        )


def _digest(model: Mapping[str, Any], files: Mapping[str, str]) -> str:
    canonical = json.dumps({"model": model, "files": files}, sort_keys=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), indent=2, ensure_ascii=False) + "\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {error}; copy the folder again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} is damaged: it holds no JSON object")
    return value
