"""Two models on the same texts, document by document, with a test of whether chance explains it.

Models may have tokenizers of their own: what is compared is bits per byte, and a document's bytes
are the same for both. Documents are dialogues, lines (`restart_lines`), or blocks of 20 lines of
running text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from models.checkpoint import Checkpoint
from training.corpus import CorpusError
from training.evaluate import model_of, sequences_of
from training.scoring import token_losses

_BLOCK_LINES = 20
_RESAMPLES = 9999

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """first, second: bits per byte. p_value: of the paired difference, two-sided. low, high: 95%
    interval of first - second, in bits per byte. documents: that were compared. wins: of them,
    those that the first model predicts better."""

    first: float
    second: float
    p_value: float
    low: float
    high: float
    documents: int
    wins: int


def compare(
    first: Checkpoint, second: Checkpoint, paths: Sequence[Path], *, restart_lines: bool = False
) -> Comparison:
    """Sign-flip permutation test and bootstrap over documents (Koehn 2004 for the resampling)."""
    nlls = []
    for checkpoint in (first, second):
        parts = [_document_nlls(checkpoint, path, restart_lines) for path in paths]
        nlls.append(np.concatenate([nll for nll, _ in parts]))
        sizes = np.concatenate([size for _, size in parts])
    bits = [nll / math.log(2) for nll in nlls]
    difference = bits[0] - bits[1]
    if len(difference) < 2:
        raise CorpusError("a comparison needs two documents or more: give more text")
    test = stats.permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    draw = np.random.default_rng(0).integers(len(sizes), size=(2000, len(sizes)))
    means = difference[draw].sum(axis=1) / sizes[draw].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    total = sizes.sum()
    return Comparison(
        first=float(bits[0].sum() / total),
        second=float(bits[1].sum() / total),
        p_value=float(test.pvalue),
        low=float(low),
        high=float(high),
        documents=len(sizes),
        wins=int((difference < 0).sum()),
    )


def _document_nlls(
    checkpoint: Checkpoint, path: Path, restart_lines: bool
) -> tuple[Floats, Floats]:
    """NLL in nats and bytes of every document of a file."""
    tokenizer = checkpoint.tokenizer
    scored, lines = sequences_of(tokenizer, path, restart_lines, "newline")
    if not lines:
        raise CorpusError(f"{path} is empty: there is nothing to compare")
    losses = token_losses(model_of(checkpoint), [sequence.ids for sequence in scored])
    nlls, sizes = list[float](), list[float]()
    for sequence, loss in zip(scored, losses, strict=True):
        ids, counted = np.array(sequence.ids[1:]), np.array(sequence.counted[1:])
        ends = np.flatnonzero(ids == tokenizer.newline_id)[_BLOCK_LINES - 1 :: _BLOCK_LINES] + 1
        cuts = [int(end) for end in ends if end < len(ids)]
        parts = zip(np.split(ids, cuts), np.split(np.where(counted, loss, 0), cuts), strict=True)
        for part, costs in parts:
            text_bytes = sum(len(tokenizer.token_bytes(int(token))) for token in part)
            nlls.append(float(costs.sum(dtype=np.float64)))
            sizes.append(float(text_bytes))
    return np.array(nlls), np.array(sizes)
