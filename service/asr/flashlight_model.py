"""flashlight-text's decoders with a model of ours.

    lm = FlashlightModel(model.words, words)     # words[i] is the decoder's word number i
    decoder = LexiconDecoder(options, trie, lm, ...)

The decoder asks from C++ for one word after another, so that nothing can be computed together; what
was asked before is remembered until the decoder starts again. Scores are natural logarithms, which
the decoder weighs by its own `lm_weight` and `word_score`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flashlight.lib.text.decoder import LM, LMState

from service.asr.word_model import WordModel


class FlashlightModel(LM):  # type: ignore[misc] # the library has no types
    """A word language model; a state of the decoder's stands for one of ours."""

    def __init__(self, words: WordModel, spelled: Sequence[str]) -> None:
        """spelled: the decoder's words by number, as its word dictionary has them."""
        super().__init__()
        self._words, self._spelled = words, spelled
        # The decoder's states are compared as objects, so each must live as long as the search.
        self._states: dict[LMState, Any] = {}
        self._scores: dict[LMState, float] = {}
        self._ends: dict[LMState, float] = {}

    def start(self, start_with_nothing: bool) -> LMState:  # noqa: ARG002
        """The state before the first word. A sentence always begins at its beginning."""
        for known in (self._states, self._scores, self._ends):
            known.clear()
        state = LMState()
        self._states[state] = self._words.start()
        return state

    def score(self, state: LMState, usr_token_idx: int) -> tuple[LMState, float]:
        """ln P of a word, and the state after it."""
        after = state.child(usr_token_idx)
        if after not in self._scores:
            (score,), (own,) = self._words.advance(
                [self._states[state]], [self._spelled[usr_token_idx]]
            )
            self._states[after], self._scores[after] = own, score
        return after, self._scores[after]

    def finish(self, state: LMState) -> tuple[LMState, float]:
        """ln P of the sentence end; the state stays what it is."""
        if state not in self._ends:
            (self._ends[state],) = self._words.end([self._states[state]])
        return state, self._ends[state]
