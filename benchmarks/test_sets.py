"""Test sets of the shipped models: files of the public corpora, and what was made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from training.evaluate import LineEnd

# Name -> file, relative to a folder, and what ends a line that is scored by itself.
Files = Mapping[str, tuple[str, LineEnd]]
TestSets = Mapping[str, tuple[Path, LineEnd]]

_ENGLISH: Files = {
    "wikitext-2": ("wikitext-2/test.txt.xz", "newline"),
    "english-novels": ("english-novels/test.txt.xz", "newline"),
    "english-fiction-2": ("english-fiction-2/test.txt.xz", "newline"),
    "english-fiction-3": ("english-fiction-3/test.txt.xz", "newline"),
    "english-nonfiction": ("english-nonfiction/test.txt.xz", "newline"),
    "wikipedia-en": ("wikipedia-en/test.txt.xz", "newline"),
    "common-voice-en": ("common-voice-sentences/en.test.txt.xz", "eos"),
    "librispeech-style": ("librispeech-libritts-sentences/valid.txt.xz", "eos"),
    "sgd": ("sgd-dialogues/test.jsonl.xz", "newline"),
    "topical-chat": ("topical-chat-dialogues/test.jsonl.xz", "newline"),
    "chitchat": ("chitchat-dialogues/test.jsonl.xz", "newline"),
    "taskmaster4": ("taskmaster4-dialogues/test.jsonl.xz", "newline"),
}
# What `python -m training prepare --recipe english` wrote.
_ENGLISH_PREPARED: Files = {
    "unseen-wharton": ("held-out/wharton.txt", "newline"),
    "unseen-nesbit": ("held-out/nesbit.txt", "newline"),
    "unseen-hope": ("held-out/hope.txt", "newline"),
    "spoken-novels": ("spoken/english-novels.txt", "eos"),
    "spoken-common-voice": ("spoken/common-voice.txt", "eos"),
    "sgd-tagged": ("sgd.test.jsonl", "newline"),
    "star-tagged": ("star.test.jsonl", "newline"),
    "taskmaster4-tagged": ("taskmaster4.test.jsonl", "newline"),
    "medquad-tagged": ("medquad.test.jsonl", "newline"),
    "ubuntu-irc-tagged": ("ubuntu-irc.test.jsonl", "newline"),
    "spaceflight-tagged": ("spaceflight.test.jsonl", "newline"),
    "court-tagged": ("court.test.jsonl", "newline"),
}
_RUSSIAN: Files = {
    "russian-novels": ("russian-novels/test.txt.xz", "newline"),
    "russian-prose-2": ("russian-prose-2/test.txt.xz", "newline"),
    "russian-plays": ("russian-plays/test.txt.xz", "newline"),
    "common-voice-ru": ("common-voice-sentences/ru.test.txt.xz", "eos"),
}
LANGUAGES: Mapping[str, tuple[Files, Files]] = {
    "en": (_ENGLISH, _ENGLISH_PREPARED),
    "ru": (_RUSSIAN, {}),
}


def sets_in(language: str, data: Path, prepared: Path | None) -> TestSets:
    """The test sets of a language, each at its place; without `prepared`, those of `data` alone."""
    corpora, made = LANGUAGES[language]
    sets = {name: (data / file, end) for name, (file, end) in corpora.items()}
    if prepared is not None:
        sets |= {name: (prepared / file, end) for name, (file, end) in made.items()}
    return sets
