"""Word errors of hypotheses by jiwer: substitutions, insertions, deletions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Summed over utterances. words: of the references."""

    substitutions: int
    insertions: int
    deletions: int
    words: int

    @property
    def total(self) -> int:
        return self.substitutions + self.insertions + self.deletions

    @property
    def rate(self) -> float:
        """Word error rate, 0 where nothing was said and nothing recognised."""
        return self.total / self.words if self.words else float(self.total > 0)


def count_errors(reference: str, texts: Sequence[str]) -> Counts:
    """(len(texts), 3): substitutions, insertions, deletions of each text."""
    import jiwer

    spoken = reference.split()
    counts = np.zeros((len(texts), 3), np.int64)
    for row, text in zip(counts, texts, strict=True):
        words = text.split()
        if not spoken:  # jiwer refuses to align with nothing
            row[1] = len(words)
        elif words != spoken:
            found = jiwer.process_words(reference, text)
            row[:] = found.substitutions, found.insertions, found.deletions
    return counts
