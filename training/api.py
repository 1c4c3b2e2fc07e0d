"""The commands as functions, for notebooks: `from lstm_serve import train, adapt, evaluate`.

Each does what its command does and says what that says, its progress bar included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.checkpoint import Checkpoint, load_checkpoint
from training.config import AUTO
from training.evaluate import evaluate_file, model_of
from training.suites import blimp

Text = str | Path | Sequence[str | Path]
_TEXTS = ("valid", "also", "mix")
_PATHS = ("tokenizer", "init_from", "words")


def train(
    corpus: Text,
    out: str | Path,
    *,
    preset: str = AUTO,
    epochs: float | None = None,
    minutes: float | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> Checkpoint:
    """`lstm-train train`: the best checkpoint of a run, which lies in `out`, with its report.

    settings: by name, {"optimizer.lr": 1e-3}. options: the other fields of
    `training.run_request.RunRequest`, such as valid, init_from, resume, license. Raises ValueError,
    RuntimeError, OSError, and TypeError for an option that there is not.
    """
    from training.run import run_training
    from training.run_request import RunRequest, Settings

    named = dict(settings or {})
    named |= {} if epochs is None else {"loop.epochs": epochs}
    named |= {} if minutes is None else {"loop.minutes": minutes}
    overrides = [f"{key}={_toml(value)}" for key, value in named.items()]
    run_training(
        RunRequest(
            corpus=_names(corpus),
            out=Path(out),
            config=Settings(preset, overrides),
            command=_command("train", corpus, out, preset=preset, set=overrides, **options),
            **_given(RunRequest, options),
        )
    )
    return load_checkpoint(Path(out))


def adapt(base: str | Path, corpus: Text, out: str | Path, **options: Any) -> Checkpoint:
    """`lstm-train adapt`: options are the fields of `training.adapt.AdaptRequest`.

    base: a shipped model's name or a folder. What was won and lost is in the checkpoint's
    `metrics["adaptation"]`. Raises as `train` does.
    """
    from training.adapt import AdaptRequest, find_base
    from training.adapt import adapt as run

    run(
        AdaptRequest(
            base=find_base(str(base)),
            corpus=_names(corpus),
            out=Path(out),
            command=_command("adapt", corpus, out, base=base, **options),
            **_given(AdaptRequest, options),
        )
    )
    return load_checkpoint(Path(out))


def evaluate(
    model: str | Path | Checkpoint,
    text: str | Path,
    *,
    restart_lines: bool = False,
    suite: str = "",
) -> dict[str, Any]:
    """`lstm-train evaluate` of one file: sums and the figures derived from them.

    suite: "blimp" counts minimal pairs instead: {paradigm: {"accuracy": ..., "pairs": ...}}.
    """
    if suite not in ("", "blimp"):
        raise ValueError(f"there is no suite {suite!r}: did you mean 'blimp'?")
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(Path(model))
    if suite:
        found = blimp(checkpoint, [Path(text)])
        return {name: {"accuracy": a.share, "pairs": a.pairs} for name, a in found.items()}
    network = model_of(checkpoint)
    measure = evaluate_file(network, checkpoint.tokenizer, Path(text), restart_lines=restart_lines)
    return measure.to_dict()


def _given(request: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options in the types of a request's fields; TypeError names one that it does not have."""
    known = {field.name for field in dataclasses.fields(request)}
    if unknown := sorted(set(options) - known):
        raise TypeError(f"there is no option {unknown[0]!r}; there are {', '.join(sorted(known))}")
    texts = {name: _names(options[name]) for name in _TEXTS if options.get(name)}
    paths = {name: Path(options[name]) for name in _PATHS if options.get(name)}
    return {**options, **texts, **paths}


def _command(name: str, corpus: Text, out: str | Path, **options: Any) -> tuple[str, ...]:
    """What would have been typed, for the card."""
    words = [name, "--corpus", *_names(corpus), "--out", str(out)]
    for key, value in options.items():
        if value in (None, False, (), [], ""):
            continue
        words.append(f"--{key.replace('_', '-')}")
        words += [] if value is True else _names(value) if key in (*_TEXTS, "set") else [str(value)]
    return tuple(words)


def _names(text: Text) -> tuple[str, ...]:
    return (str(text),) if isinstance(text, str | Path) else tuple(map(str, text))


def _toml(value: Any) -> str:
    """A Python value as the right side of an override."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)
