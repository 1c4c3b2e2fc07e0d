"""Shape, vocabulary and length for a corpus, where nobody named them.

Bounds and values come from runs on 1 MB of plays, WikiText-2 and the shipped models' corpora
(docs/experiments.md); between them they are interpolated by eye.
"""

from __future__ import annotations

from typing import Any

from training.survey import CorpusFacts

MANY_PASSES = 20

# Bytes up to which a row holds; vocabulary, width, layers, dropout, weight drop, batch, passes.
_ROWS: tuple[tuple[float, int, int, int, float, float, int, float], ...] = (
    (0.3e6, 512, 192, 1, 0.3, 0.2, 8, 20),
    (3e6, 1024, 256, 2, 0.25, 0.1, 16, 18),
    (20e6, 4096, 384, 2, 0.2, 0.1, 32, 10),
    (80e6, 8192, 512, 2, 0.1, 0.0, 64, 5),
    (300e6, 8192, 512, 2, 0.05, 0.0, 128, 2),
    (float("inf"), 16384, 768, 2, 0.0, 0.0, 128, 1),
)


def passes_for(num_bytes: int) -> float:
    """Passes over a corpus of that size when no length was asked for."""
    return next(row[7] for row in _ROWS if num_bytes <= row[0])


def values_for(facts: CorpusFacts) -> dict[str, Any]:
    """A preset's values for a corpus."""
    row = next(row for row in _ROWS if facts.bytes <= row[0])
    _, vocabulary, width, layers, dropout, weight_drop, batch, passes = row
    return {
        "description": "A recurrent language model, its shape chosen for its corpus.",
        "model": {"embedding_size": width, "hidden_sizes": [width] * layers},
        "tokenizer": {"vocab_size": vocabulary},
        "optimizer": {"lr": 3e-3, "weight_decay": 0.02 if dropout > 0.1 else 0.0},
        "averaging": {"kind": "exponential", "decay": 0.998},
        "regularization": {
            "input_dropout": dropout,
            "layer_dropout": dropout,
            "output_dropout": dropout,
            "weight_drop": weight_drop,
        },
        "loop": {"batch_size": batch, "bptt": 64, "epochs": passes, "patience": 8},
    }


def explain(facts: CorpusFacts, values: dict[str, Any]) -> str:
    """What was chosen and why, in a line."""
    model, epochs = values["model"], values["loop"]["epochs"]
    return (
        f"chosen for {facts.bytes / 1e6:.2f} MB of text: {values['tokenizer']['vocab_size']:,} "
        f"pieces, {len(model['hidden_sizes'])} x {model['embedding_size']} units, dropout "
        f"{values['regularization']['layer_dropout']}, {epochs:g} passes (--preset, --set and "
        "--epochs choose otherwise)"
    )
