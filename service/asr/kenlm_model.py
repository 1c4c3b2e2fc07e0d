"""An n-gram model by KenLM, from an ARPA file or KenLM's own binary (the extra `kenlm`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.asr.formats.conversions import LN10

EXTRA = "an n-gram model needs KenLM: pip install 'lstm-serve[kenlm]'"


class KenlmModel:
    """A word model whose states are KenLM's; natural logarithms.

    A word that the n-grams do not know has the probability of `<unk>`, which estimators that keep
    every word of the text make as small as that of one rare word.
    """

    def __init__(self, path: Path) -> None:
        """Raises ImportError without KenLM, ValueError for a file that it cannot read."""
        try:
            import kenlm
        except ImportError:
            raise ImportError(EXTRA) from None
        try:
            self._model = kenlm.Model(str(path))
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{path} is no n-gram model: {error}") from None
        self._new_state = kenlm.State
        start = self._new_state()
        self._model.BeginSentenceWrite(start)
        self._start = start

    def start(self) -> Any:
        return self._start

    def advance(self, states: Sequence[Any], words: Sequence[str]) -> tuple[list[float], list[Any]]:
        scores, after = [], []
        for state, word in zip(states, words, strict=True):
            new = self._new_state()
            scores.append(LN10 * self._model.BaseScore(state, word, new))
            after.append(new)
        return scores, after

    def end(self, states: Sequence[Any]) -> list[float]:
        return self.advance(states, ["</s>"] * len(states))[0]

    def word_scores(self, text: str) -> list[float]:
        """ln P of each word and of the sentence end."""
        return [LN10 * score for score, _, _ in self._model.full_scores(text)]

    def knows(self, word: str) -> bool:
        """Whether the word is one of the model's."""
        return word in self._model

    @property
    def order(self) -> int:
        return int(self._model.order)
