"""What ru-small is trained on: prose, plays and sentences, a third of it as recognisers write."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from training.recipes import prose
from training.recipes.recipe import Corpora, Part

_PROSE = ("russian-novels", "russian-prose-2")


def russian(corpora: Corpora) -> Iterator[Part]:
    """Parts of the mixture. Plays are the only talk there is: their speeches also stand alone."""
    for name in (*_PROSE, "russian-plays"):
        yield Part(name=f"{name}/train.txt.xz", options="asr=0.34")
        yield Part(name=f"{name}/valid.txt.xz", role="valid", options="also-asr")
    voice = "common-voice-sentences/ru"
    yield Part(name=f"{voice}.train.txt.xz", options="lines,also-asr,repeat=2")
    yield Part(name=f"{voice}.train.txt.xz", options="also-asr")
    yield Part(name=f"{voice}.valid.txt.xz", role="valid", options="lines,also-asr")
    paragraphs = itertools.chain.from_iterable(
        corpora.lines(f"{name}/train.txt.xz") for name in _PROSE
    )
    yield Part(
        name="sentences.txt", options="lines", lines=prose.spoken_sentences(paragraphs, every=6)
    )
    plays = corpora.lines("russian-plays/train.txt.xz")
    yield Part(name="speeches.txt", options="lines,also-asr", lines=speeches(plays))


_SPEAKER = re.compile(r"[А-ЯЁ][^.!?]{0,40}\. ")


def speeches(lines: Iterable[str]) -> Iterator[str]:
    """What is said in plays, without who says it: "Speaker. Words" a line."""
    for line in lines:
        if speaker := _SPEAKER.match(line):
            yield line[speaker.end() :]
