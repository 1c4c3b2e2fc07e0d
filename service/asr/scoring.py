"""Lists scored by the models that rescore them: a model of ours, an n-gram, or both."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from service.asr.hypotheses import MODEL, Hypothesis, NBestList
from service.asr.kenlm_model import KenlmModel
from service.asr.text_forms import TextForm, render
from service.asr.tuning_data import NGRAM
from service.language_model import LanguageModel
from service.results import TextScore

T = TypeVar("T")

_TEXTS_AT_ONCE = 1024  # of one request to the engine, in whole lists: they share its batches
_IN_FLIGHT = 2  # requests: one is read and written while another is computed


class ListScorer:
    """Adds word scores under `model` and `ngram` to every hypothesis of a list."""

    def __init__(
        self,
        model: LanguageModel | None,
        ngram: KenlmModel | None = None,
        text_form: TextForm = "as-is",
    ) -> None:
        self._model, self._ngram, self._text_form = model, ngram, text_form

    def score(self, lists: Sequence[NBestList]) -> list[NBestList]:
        """The lists with their hypotheses' word scores; all texts are one prefix tree."""
        texts = {h.text: "" for own in lists for h in own.hypotheses}
        texts = {text: render(text, self._text_form) for text in texts}
        found: dict[str, dict[str, tuple[float, ...]]] = {text: {} for text in texts}
        if self._model is not None:
            spelled = list(dict.fromkeys(texts.values()))
            scores = dict(zip(spelled, model_word_scores(self._model, spelled), strict=True))
            for text, own in texts.items():
                found[text][MODEL] = scores[own]
        if self._ngram is not None:
            for text, own in texts.items():
                found[text][NGRAM] = tuple(self._ngram.word_scores(own))
        return [
            replace(own, hypotheses=tuple(_with_scores(h, found[h.text]) for h in own.hypotheses))
            for own in lists
        ]

    def stream(self, lists: Iterable[NBestList]) -> Generator[NBestList]:
        """The lists in their order, as many in memory at a time as keep the engine busy."""
        return in_order(chunked(lists), self.score)


def model_word_scores(model: LanguageModel, texts: Sequence[str]) -> list[tuple[float, ...]]:
    """ln P of each word of every text and of its end, as `/v1/score` gives them."""
    # A model also knows line breaks and doubled spaces, which are no words.
    odd = [text for text in texts if text != " ".join(text.split())]
    if not odd:
        return model.words.sentences(texts)
    found = dict(zip(odd, map(_word_logprobs, model.scores(odd, detail="words")), strict=True))
    even = [text for text in texts if text not in found]
    found |= zip(even, model.words.sentences(even), strict=True)
    return [found[text] for text in texts]


def _word_logprobs(score: TextScore) -> tuple[float, ...]:
    assert score.words is not None
    return tuple(word.logprob for word in score.words)


def _with_scores(hypothesis: Hypothesis, found: dict[str, tuple[float, ...]]) -> Hypothesis:
    return replace(hypothesis, word_scores={**hypothesis.word_scores, **found})


def chunked(lists: Iterable[NBestList]) -> Iterator[list[NBestList]]:
    """Lists of together about `_TEXTS_AT_ONCE` hypotheses."""
    chunk: list[NBestList] = []
    size = 0
    for own in lists:
        chunk.append(own)
        size += max(len(own.hypotheses), 1)
        if size >= _TEXTS_AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def in_order(chunks: Iterable[T], work: Callable[[T], Sequence[NBestList]]) -> Generator[NBestList]:
    """The results of `work`, computed beside the reading and writing of others."""
    waiting: deque[Future[Sequence[NBestList]]] = deque()
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > _IN_FLIGHT:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
