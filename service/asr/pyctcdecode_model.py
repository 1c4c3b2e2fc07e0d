"""pyctcdecode with a model of ours: each word of its beams, many in one step of the engine.

    lm = PyctcdecodeModel(model.words, alpha=0.5, beta=1.5)
    decoder = BatchedDecoder(Alphabet.build_alphabet(labels), lm)
    text = decoder.decode(logits)

pyctcdecode asks for one word after another; `BatchedDecoder` looks at all its beams first and asks
for their words at once. With pyctcdecode's own decoder the model gives the same scores, one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pyctcdecode.decoder import BeamSearchDecoderCTC
from pyctcdecode.language_model import AbstractLanguageModel
from pygtrie import CharTrie

from service.asr.word_model import WordModel


@dataclass(frozen=True, eq=False, slots=True)
class _State:
    """A state of the word model, with what was computed behind it: a word's ln P and its state."""

    own: Any
    following: dict[str, tuple[float, _State]]
    ends: list[float]


class PyctcdecodeModel(AbstractLanguageModel):  # type: ignore[misc] # the library has no types
    """alpha * ln P(word | words before) + beta, as pyctcdecode's own KenLM model scores.

    The last word also gets alpha * ln P(sentence end). alpha, beta: as in pyctcdecode, whose
    default of 0.5 is for natural logarithms too.
    """

    def __init__(
        self,
        words: WordModel,
        alpha: float = 0.5,
        beta: float = 1.5,
        *,
        unigrams: Collection[str] = (),
        unknown_offset: float = -10.0,
    ) -> None:
        """unigrams: the recogniser's words, if there are only those: a beginning that none of them
        has costs `unknown_offset` (once) before the word ends, and the word itself too."""
        self._words, self._alpha, self._beta = words, alpha, beta
        self._unknown_offset = unknown_offset
        self._unigrams = frozenset(unigrams)
        self._prefixes = CharTrie.fromkeys(unigrams, True) if unigrams else None

    @property
    def order(self) -> int:
        """How far back the model looks, for merging of beams that differ before: everywhere."""
        return 1 << 30

    def get_start_state(self) -> _State:
        return _State(self._words.start(), {}, [])

    def score_partial_token(self, partial_token: str) -> float:
        """The cost of a beginning that no word has."""
        if self._prefixes is None or not partial_token:
            return 0.0
        return 0.0 if self._prefixes.has_node(partial_token) else self._unknown_offset

    def score(
        self, prev_state: _State, word: str, is_last_word: bool = False
    ) -> tuple[float, _State]:
        """The score of a word, and the state after it; an empty last word is the end alone."""
        self.prefetch([(prev_state, word, is_last_word)])
        if not word:  # nothing more is said
            end = self._alpha * prev_state.ends[0] if is_last_word else 0.0
            return end, prev_state
        logprob, after = prev_state.following[word]
        total = self._alpha * logprob + self._beta
        if self._unigrams and word not in self._unigrams:
            total += self._unknown_offset
        if is_last_word:
            total += self._alpha * after.ends[0]
        return total, after

    def prefetch(self, asked: Iterable[tuple[_State, str, bool]]) -> None:
        """Compute what is not known yet of (state, word, whether it is the last)."""
        asked = list(asked)
        wanted = {
            (id(state), word): (state, word)
            for state, word, _ in asked
            if word and word not in state.following
        }
        if wanted:
            pairs = list(wanted.values())
            scores, states = self._words.advance(
                [own.own for own, _ in pairs], [w for _, w in pairs]
            )
            for (state, word), score, after in zip(pairs, scores, states, strict=True):
                state.following[word] = score, _State(after, {}, [])
        lasts = [
            state.following[word][1] if word else state for state, word, is_last in asked if is_last
        ]
        ending = list({id(state): state for state in lasts if not state.ends}.values())
        if ending:
            ends = self._words.end([state.own for state in ending])
            for state, end in zip(ending, ends, strict=True):
                state.ends.append(end)


class BatchedDecoder(BeamSearchDecoderCTC):  # type: ignore[misc] # the library has no types
    """pyctcdecode's decoder, whose beams ask the model together."""

    def _get_lm_beams(
        self,
        beams: list[Any],
        hotword_scorer: Any,
        cached_lm_scores: dict[Any, Any],
        cached_partial_token_scores: dict[str, float],
        is_eos: bool = False,
    ) -> Any:
        model = self._language_model
        if isinstance(model, PyctcdecodeModel):
            texts = ((own[0], own[1]) for own in beams)  # what was said, the word that ended
            model.prefetch(
                (cached_lm_scores[text, False][2], word, is_eos)
                for text, word in texts
                if (" ".join((text, word)).strip(), is_eos) not in cached_lm_scores
            )
        return super()._get_lm_beams(
            beams, hotword_scorer, cached_lm_scores, cached_partial_token_scores, is_eos
        )
