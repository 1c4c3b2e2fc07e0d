"""Shape, vocabulary and length for a corpus, where nobody named them.

Where the rows come from: that of 3 MB is measured on Tiny Shakespeare (docs/training.md), that of
80 MB is the shape of the shipped checkpoints (docs/experiments.md: larger vocabularies, wider or
deeper networks and more dropout were worse at that size). That of 20 MB lies between them, with
fewer passes than the preset `wikitext2-cpu`, which was measured at 15. The first and the last two
continue the trend and were not measured: less text, a smaller network, more dropout; more text
than a CPU can read often, one or two passes without any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.survey import CorpusFacts

# Beyond what was measured to gain: 15 passes over WikiText-2, 18 over Tiny Shakespeare.
MANY_PASSES = 20


@dataclass(frozen=True)
class _Row:
    """What holds for corpora up to so many bytes. minutes: that training may take; 0: any."""

    bytes: float
    vocabulary: int
    width: int
    layers: int
    dropout: float
    weight_drop: float
    batch: int
    passes: float
    minutes: float = 0


# Small corpora are where somebody tries the first command: 18 minutes of training leave two for
# reading, the tokenizer and the report within twenty.
_ROWS = (
    _Row(0.3e6, 512, 192, 1, 0.3, 0.2, 8, 20, 18),
    _Row(3e6, 1024, 256, 2, 0.25, 0.1, 16, 18, 18),
    _Row(20e6, 4096, 384, 2, 0.2, 0.1, 32, 10),
    _Row(80e6, 8192, 512, 2, 0.1, 0.0, 64, 5),
    _Row(300e6, 8192, 512, 2, 0.05, 0.0, 128, 2),
    _Row(float("inf"), 16384, 768, 2, 0.0, 0.0, 128, 1),
)


def passes_for(num_bytes: int) -> float:
    """Passes over a corpus of that size when no length was asked for."""
    return _row(num_bytes).passes


def values_for(facts: CorpusFacts) -> dict[str, Any]:
    """A preset's values for a corpus."""
    row = _row(facts.bytes)
    return {
        "description": "A recurrent language model, its shape chosen for its corpus.",
        "model": {"embedding_size": row.width, "hidden_sizes": [row.width] * row.layers},
        "tokenizer": {"vocab_size": row.vocabulary},
        "optimizer": {"lr": 3e-3, "weight_decay": 0.02 if row.dropout > 0.1 else 0.0},
        "averaging": {"kind": "exponential", "decay": 0.998},
        "regularization": {
            "input_dropout": row.dropout,
            "layer_dropout": row.dropout,
            "output_dropout": row.dropout,
            "weight_drop": row.weight_drop,
        },
        "loop": {
            "batch_size": row.batch,
            "bptt": 64,
            "epochs": row.passes,
            "minutes": row.minutes,
            "patience": 8,
        },
    }


def _row(num_bytes: int) -> _Row:
    return next(row for row in _ROWS if num_bytes <= row.bytes)


def explain(facts: CorpusFacts, values: dict[str, Any]) -> str:
    """What was chosen and why, in a line."""
    model, loop = values["model"], values["loop"]
    bound = f" within {loop['minutes']:g} minutes" if loop["minutes"] else ""
    return (
        f"chosen for {facts.bytes / 1e6:.2f} MB of text: {values['tokenizer']['vocab_size']:,} "
        f"pieces, {len(model['hidden_sizes'])} x {model['embedding_size']} units, dropout "
        f"{values['regularization']['layer_dropout']}, {loop['epochs']:g} passes{bound} (--preset, "
        "--set, --epochs and --minutes choose otherwise)"
    )
