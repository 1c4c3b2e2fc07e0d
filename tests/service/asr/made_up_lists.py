"""N-best lists whose scores are noise around what is right, so that what helps is known."""

from __future__ import annotations

import random

from service.asr.hypotheses import LM, MODEL, Hypothesis, NBestList
from service.asr.tuning_data import TuningData, build_data

WORDS = tuple("abcdefghklm")


def made_up_lists(
    count: int, *, model_knows: float, seed: int = 0, size: int = 8, unit: float = 1.0
) -> list[NBestList]:
    """Lists of a first pass that is often wrong.

    model_knows: how much better, in nats, the model finds what was said than each wrong word;
        0 makes it noise. unit: what the acoustic scores are multiplied by.
    """
    draw = random.Random(seed)
    return [_list(draw, index, model_knows, size, unit) for index in range(count)]


def _list(draw: random.Random, index: int, model_knows: float, size: int, unit: float) -> NBestList:
    spoken = draw.choices(WORDS, k=draw.randint(3, 8))
    texts = {" ".join(spoken): None}
    while len(texts) < size:
        texts[" ".join(_misheard(draw, spoken))] = None
    hypotheses = [_hypothesis(draw, text.split(), spoken, model_knows, unit) for text in texts]
    hypotheses.sort(key=lambda own: -(own.score or 0.0) - unit * own.scores[LM])
    return NBestList(
        id=f"u{index}",
        hypotheses=tuple(hypotheses),
        reference=" ".join(spoken),
        speaker=f"s{index % 7}",
    )


def _misheard(draw: random.Random, spoken: list[str]) -> list[str]:
    words = list(spoken)
    for _ in range(draw.randint(1, 2)):
        place, what = draw.randrange(len(words)), draw.random()
        if what < 0.3 and len(words) > 1:
            del words[place]
        elif what < 0.5:
            words.insert(place, draw.choice(WORDS))
        else:
            words[place] = draw.choice(WORDS)
    return words


def _hypothesis(
    draw: random.Random, words: list[str], spoken: list[str], model_knows: float, unit: float
) -> Hypothesis:
    wrong = sum(a != b for a, b in zip(words, spoken, strict=False)) + abs(len(words) - len(spoken))
    by_model = [draw.gauss(-3, 0.7) for _ in range(len(words) + 1)]
    by_model[-1] -= model_knows * wrong
    return Hypothesis(
        text=" ".join(words),
        score=unit * (draw.gauss(0, 3) - wrong),
        scores={LM: draw.gauss(0, 2) - 3.0 * len(words)},
        word_scores={MODEL: by_model},
    )


def arrays_of(lists: list[NBestList], *, by_speaker: bool = False) -> TuningData:
    """Arrays of lists that bring their references."""
    references = {own.id: own.reference or "" for own in lists}
    return build_data(lists, references, by_speaker=by_speaker)
