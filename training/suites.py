"""Minimal pairs: of two sentences that differ in one place, does the model prefer the right one?

BLiMP (Warstadt et al. 2020): files of JSON lines with `sentence_good` and `sentence_bad`. A
sentence's probability is that of all of its pieces and the end after it, from a fresh state; the
pair counts if the good one's is larger. Chance is 50%.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.checkpoint import Checkpoint
from training.corpus import CorpusError, read_lines
from training.evaluate import model_of
from training.scoring import token_losses

GOOD, BAD = "sentence_good", "sentence_bad"


@dataclass(frozen=True)
class Accuracy:
    """Of pairs of sentences, how many the model gets right."""

    right: int
    pairs: int

    @property
    def share(self) -> float:
        return self.right / self.pairs


def blimp(checkpoint: Checkpoint, paths: Sequence[Path]) -> Mapping[str, Accuracy]:
    """Accuracy by paradigm (`UID`, or the file's name), and "all" over all pairs."""
    by_name: dict[str, list[tuple[str, str]]] = {}
    for path in paths:
        for name, pair in _pairs(path):
            by_name.setdefault(name, []).append(pair)
    if not by_name:
        raise CorpusError("no pairs: the files are empty")
    tokenizer, model = checkpoint.tokenizer, model_of(checkpoint)
    found = {}
    for name, pairs in by_name.items():
        sequences = [
            [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]
            for pair in pairs
            for text in pair
        ]
        costs = [float(losses.sum()) for losses in token_losses(model, sequences)]
        right = sum(good < bad for good, bad in zip(costs[::2], costs[1::2], strict=True))
        found[name] = Accuracy(right, len(pairs))
    total = Accuracy(sum(a.right for a in found.values()), sum(a.pairs for a in found.values()))
    return {**found, "all": total}


def _pairs(path: Path) -> list[tuple[str, tuple[str, str]]]:
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        if not line:
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise CorpusError(f"{path}, line {number}: not JSON ({error})") from error
        good, bad = (value.get(key) if isinstance(value, dict) else None for key in (GOOD, BAD))
        if not isinstance(good, str) or not isinstance(bad, str):
            raise CorpusError(f"{path}, line {number}: needs strings {GOOD!r} and {BAD!r}")
        name = value.get("UID")
        pairs.append((name if isinstance(name, str) else path.name.split(".")[0], (good, bad)))
    return pairs
