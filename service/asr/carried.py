"""Running speech: each list behind the best hypotheses of those before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from service.asr.hypotheses import MODEL, NBestList
from service.asr.ranking import Ranker
from service.asr.text_forms import TextForm, render
from service.language_model import LanguageModel

_UTTERANCE_END = "\n"  # between the lines of running text in training


def carry_context(
    model: LanguageModel, lists: Iterable[NBestList], ranker: Ranker, text_form: TextForm
) -> Iterator[NBestList]:
    """The lists ranked one after another, in the order in which they were spoken."""
    state = model.state("")
    for nbest in lists:
        texts = [render(own.text, text_form) for own in nbest.hypotheses]
        scores = model.scores(texts, state=state, detail="words") if texts else []
        ranked = ranker.rank(
            replace(
                nbest,
                hypotheses=tuple(
                    replace(
                        own,
                        word_scores={
                            **own.word_scores,
                            MODEL: tuple(word.logprob for word in score.words or ()),
                        },
                    )
                    for own, score in zip(nbest.hypotheses, scores, strict=True)
                ),
            )
        )
        yield ranked
        if ranked.hypotheses:
            best = render(ranked.hypotheses[0].text, text_form)
            state = model.state(best + _UTTERANCE_END, state=state)
