"""The settings of a batch's rows as arrays, and how each row is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from service.engine.adjustments import SampleState

_COLDEST = 1e-4  # below it a temperature is 0: its inverse would leave float32
_FEW = 64  # candidates that most nuclei lie within


@dataclass(frozen=True, slots=True)
class RowSettings:
    """Arrays (R,). A filter that is off has a value that keeps everything.

    inverse: 1 / temperature. num_candidates: among how many of the most probable tokens a row is
    drawn first; 0 for none. only_top_p: where nothing else truncates, so that the nucleus is a
    share of the whole vocabulary. pure: where nothing does.
    """

    keys: NDArray[np.uint64]
    inverse: NDArray[np.float64]
    greedy: NDArray[np.bool_]
    pure: NDArray[np.bool_]
    top_k: NDArray[np.int64]
    top_p: NDArray[np.float64]
    min_p: NDArray[np.float64]
    typical_p: NDArray[np.float64]
    num_candidates: NDArray[np.int64]
    only_top_p: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[SampleState], vocab: int) -> RowSettings:
        params = [row.params for row in rows]
        temperatures = np.array([p.temperature for p in params])
        greedy = temperatures < _COLDEST
        top_k = np.array([min(p.top_k or vocab, vocab) for p in params], np.int64)
        filters = np.array([(p.top_p, p.min_p, p.typical_p) for p in params])
        top_p, min_p, typical_p = filters.reshape(-1, 3).T.copy()
        sizes = np.full(len(rows), min(_FEW, vocab), np.int64)
        while (short := (sizes < top_k) & (top_k < vocab)).any():
            sizes[short] = np.minimum(4 * sizes[short], vocab)
        any_k, any_typical = top_k == vocab, typical_p >= 1
        pure = any_k & any_typical & (top_p >= 1) & (min_p <= 0) & ~greedy
        return cls(
            keys=np.array([row.key for row in rows], np.uint64),
            inverse=1 / np.where(greedy, 1, temperatures),
            greedy=greedy,
            pure=pure,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
            # Without top_k a typical set may lie anywhere.
            num_candidates=np.where(greedy | pure | (any_k & ~any_typical), 0, sizes),
            only_top_p=any_k & any_typical & (top_p < 1) & (min_p <= 0) & ~greedy,
        )

    @property
    def log_top_p(self) -> NDArray[np.float64]:
        result: NDArray[np.float64] = np.log(self.top_p)
        return result

    def rows(self, chosen: NDArray[np.int64]) -> RowSettings:
        return RowSettings(**{part.name: getattr(self, part.name)[chosen] for part in fields(self)})
