"""The commands as functions, for notebooks: `from lstm_serve import train, adapt, evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.checkpoint import Checkpoint, load_checkpoint
from training.config import AUTO
from training.evaluate import evaluate_file, model_of

Text = str | Path | Sequence[str | Path]


def train(
    corpus: Text,
    out: str | Path,
    *,
    valid: Text = (),
    preset: str = AUTO,
    epochs: float | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: bool = False,
    license: str = "not stated",
) -> Checkpoint:
    """`lstm-train train`: the best checkpoint of a run, which lies in `out`, with its report.

    settings: by name, {"optimizer.lr": 1e-3}. Raises ValueError, RuntimeError or OSError.
    """
    from training.preparation import RunRequest, Settings
    from training.run import run_training

    named = dict(settings or {}) | ({} if epochs is None else {"loop.epochs": epochs})
    overrides = [f"{key}={_toml(value)}" for key, value in named.items()]
    request = RunRequest(
        corpus=_names(corpus),
        valid=_names(valid),
        out=Path(out),
        config=Settings(preset, overrides),
        resume=resume,
        license=license,
        command=("train", "--corpus", *_names(corpus), "--out", str(out)),
    )
    run_training(request)
    return load_checkpoint(Path(out))


def adapt(base: str | Path, corpus: Text, out: str | Path, **options: Any) -> Checkpoint:
    """`lstm-train adapt`: options are the fields of `training.adapt.AdaptRequest`."""
    from training.adapt import AdaptRequest, find_base
    from training.adapt import adapt as run

    for name in ("valid", "mix"):
        if name in options:
            options[name] = _names(options[name])
    request = AdaptRequest(
        base=find_base(str(base)), corpus=_names(corpus), out=Path(out), **options
    )
    run(request)
    return load_checkpoint(Path(out))


def evaluate(
    model: str | Path | Checkpoint, text: str | Path, *, restart_lines: bool = False
) -> dict[str, Any]:
    """`lstm-train evaluate` of one file: sums and the figures derived from them."""
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(Path(model))
    network = model_of(checkpoint)
    measure = evaluate_file(network, checkpoint.tokenizer, Path(text), restart_lines=restart_lines)
    return measure.to_dict()


def _names(text: Text) -> tuple[str, ...]:
    return (str(text),) if isinstance(text, str | Path) else tuple(map(str, text))


def _toml(value: Any) -> str:
    """A Python value as the right side of an override."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
