"""What en-asr ends with: sentences as recognisers write them, read and spoken freely."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from training.recipes import dialogues, prose
from training.recipes.english import prose_paragraphs, spoken_tests
from training.recipes.recipe import Corpora, Part

_READ_ALOUD = ("common-voice-sentences/en.", "librispeech-libritts-sentences/")
_CHATS = ("chitchat", "topical-chat")
_COURT_SHARE = 0.045  # of the arguments: three megabytes, as many as are read aloud


def english_asr(corpora: Corpora) -> Iterator[Part]:
    """About ten million tokens, all in lower case without punctuation: a last stage of training."""
    yield Part(
        name="sentences.txt",
        options="lines",
        lines=prose.spoken_sentences(prose_paragraphs(corpora), every=21),
    )
    yield Part(name="court-sentences.txt", options="lines,asr", lines=_court(corpora))
    for name in _READ_ALOUD:
        yield Part(name=f"{name}train.txt.xz", options="lines,asr,repeat=2")
        yield Part(name=f"{name}valid.txt.xz", role="valid", options="lines,asr")
    for name in _CHATS:
        yield Part(name=f"{name}-dialogues/train.jsonl.xz", options="lines,asr")
    yield from spoken_tests(corpora)


def _court(corpora: Corpora) -> Iterator[str]:
    """Spontaneous speech, a sentence a line: a turn before a court is too long for one."""
    arguments = dialogues.parse(corpora.lines("scotus-arguments/train.jsonl.xz"))
    turns = dialogues.spoken_turns(dialogues.share_of(arguments, _COURT_SHARE))
    yield from itertools.chain.from_iterable(map(prose.sentences, turns))
