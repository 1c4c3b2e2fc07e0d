"""What en-small is trained on: prose, sentences and conversations, a third of it as recognisers
write."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from models.spoken_text import asr_text
from training.recipes import dialogues, kinds, prose
from training.recipes.recipe import Corpora, Part, Role
from training.recipes.small_talk import small_talk

# Nothing by them is trained on; a work of each is written for the test of authors never seen.
HELD_OUT_AUTHORS = re.compile(r"\bWharton\b|\bNesbit\b|\bAnthony Hope\b(?=:)")
HELD_OUT_WORKS = {
    "wharton": ("english-fiction-2", "The Age of Innocence"),
    "nesbit": ("english-fiction-2", "The Railway Children"),
    "hope": ("english-fiction-2", "The Prisoner of Zenda"),
}
_PROSE = ("english-novels", "english-fiction-2", "english-fiction-3", "english-nonfiction")


def english(corpora: Corpora) -> Iterator[Part]:
    """Parts of the mixture; each share is told beside its reason."""
    yield from _prose(corpora)
    yield from _encyclopedia(corpora)
    yield from _sentences(corpora)
    yield from _chats(corpora)
    yield from _tasks(corpora)
    yield from _speech(corpora)
    yield from _held_out(corpora)


def _prose(corpora: Corpora) -> Iterator[Part]:
    for name in _PROSE:
        lines = prose.without_works(corpora.lines(f"{name}/train.txt.xz"), HELD_OUT_AUTHORS)
        yield Part(name=f"{name}.txt", options="asr=0.34", lines=lines)
        yield Part(name=f"{name}/valid.txt.xz", role="valid", options="also-asr")


def _encyclopedia(corpora: Corpora) -> Iterator[Part]:
    """Half of the articles also in WikiText's form, as far as they use its words."""
    yield Part(name="wikitext-2/train.txt.xz", options="repeat=3")
    yield Part(name="wikitext-2/valid.txt.xz", role="valid")
    yield Part(name="wikipedia-en/train.txt.xz", options="asr=0.34")
    yield Part(name="wikipedia-en/valid.txt.xz", role="valid", options="also-asr")
    vocabulary = prose.words(corpora.lines("wikitext-2/train.txt.xz"))
    articles = itertools.islice(corpora.lines("wikipedia-en/train.txt.xz"), 120_000)
    yield Part(name="wikitext-form.txt", lines=prose.wikitext_form(articles, vocabulary))


def _sentences(corpora: Corpora) -> Iterator[Part]:
    """Sentences alone in either rendering, and in running text, where they do not end it."""
    for name in ("common-voice-sentences/en.", "librispeech-libritts-sentences/"):
        yield Part(name=f"{name}train.txt.xz", options="lines,also-asr,repeat=3")
        yield Part(name=f"{name}train.txt.xz", options="also-asr")
        yield Part(name=f"{name}valid.txt.xz", role="valid", options="lines,also-asr")
    spoken = prose.spoken_sentences(prose_paragraphs(corpora), every=8)
    yield Part(name="sentences.txt", options="lines", lines=spoken)


def prose_paragraphs(corpora: Corpora) -> Iterator[str]:
    """Of prose and Wikipedia, without the works of authors who are held out."""
    for name in (*_PROSE, "wikipedia-en"):
        yield from prose.without_works(corpora.lines(f"{name}/train.txt.xz"), HELD_OUT_AUTHORS)


def _chats(corpora: Corpora) -> Iterator[Part]:
    """Small talk has no system line, or now and then one that says nothing."""
    for name, repeat in (("chitchat", 1), ("topical-chat", 2)):
        parsed = list(dialogues.parse(corpora.lines(f"{name}-dialogues/train.jsonl.xz")))
        lines = kinds.SMALL_TALK if name == "chitchat" else kinds.SMALL_TALK + kinds.TOPICS
        cleaned = list(dialogues.clean_chat(parsed))
        chats = itertools.chain(cleaned, dialogues.swapped(cleaned))
        yield Part(
            name=f"{name}.jsonl",
            options=f"asr=0.2,repeat={repeat}",
            lines=dialogues.dump(dialogues.tagged(chats, lines, share=0.25)),
        )
        yield Part(name=f"{name}-dialogues/train.jsonl.xz", options="lines,asr=0.34")
        yield Part(name=f"{name}-dialogues/valid.jsonl.xz", role="valid")
    yield Part(
        name="small-talk.jsonl",
        options="asr=0.2",
        lines=dialogues.dump(dialogues.tagged(small_talk(6000), kinds.SMALL_TALK, share=0.25)),
    )


_TASKS = {  # its system lines, share of the training dialogues, passes, share of validation
    "sgd": (kinds.BOOKING, 1.0, 1, 0.2),
    "star": (kinds.WIZARD, 1.0, 1, 0.5),
    "taskmaster4": (kinds.COFFEE, 1.0, 3, 1.0),
    "medquad": (kinds.MEDICAL, 0.7, 1, 0.3),
    "ubuntu-irc": (kinds.UBUNTU, 1.0, 1, 1.0),
    "spaceflight": (kinds.SPACEFLIGHT, 1.0, 1, 1.0),
}


def _tasks(corpora: Corpora) -> Iterator[Part]:
    """Dialogues of a task, every one with the system line of its kind."""
    for name, (system, share, repeat, valid) in _TASKS.items():
        train = dialogues.parse(corpora.lines(f"{name}-dialogues/train.jsonl.xz"))
        tagged = dialogues.tagged(dialogues.share_of(train, share), system)
        options = f"asr=0.2,repeat={repeat}"
        yield Part(name=f"{name}.jsonl", options=options, lines=dialogues.dump(tagged))
        shares: dict[Role, float] = {"valid": valid, "test": 1.0}
        for role, part in shares.items():
            some = dialogues.parse(corpora.lines(f"{name}-dialogues/{role}.jsonl.xz"))
            tagged = dialogues.tagged(dialogues.share_of(some, part), system)
            yield Part(name=f"{name}.{role}.jsonl", role=role, lines=dialogues.dump(tagged))


def _speech(corpora: Corpora) -> Iterator[Part]:
    """Spontaneous speech: some as dialogues of its kind, some as a recogniser hears a turn."""
    names: dict[Role, str] = {"train": "court", "valid": "court.valid", "test": "court.test"}
    for role, name in names.items():
        arguments = dialogues.parse(corpora.lines(f"scotus-arguments/{role}.jsonl.xz"))
        some = dialogues.tagged(dialogues.share_of(arguments, 0.3), kinds.COURT)
        options = "asr=0.2" if role == "train" else ""
        yield Part(name=f"{name}.jsonl", role=role, options=options, lines=dialogues.dump(some))
    arguments = dialogues.parse(corpora.lines("scotus-arguments/train.jsonl.xz"))
    turns = dialogues.spoken_turns(dialogues.share_of(arguments, 0.15))
    yield Part(name="court-turns.txt", options="lines,asr=0.75", lines=turns)


def _held_out(corpora: Corpora) -> Iterator[Part]:
    """Tests that need some work: test files as recognisers write, and authors never seen."""
    yield from spoken_tests(corpora)
    for author, (corpus, title) in HELD_OUT_WORKS.items():
        lines = prose.work(corpora.lines(f"{corpus}/train.txt.xz"), title)
        yield Part(name=f"held-out/{author}.txt", role="test", lines=lines)


def spoken_tests(corpora: Corpora) -> Iterator[Part]:
    """Test files as recognisers write them."""
    for name, file in (
        ("english-novels", "english-novels/test.txt.xz"),
        ("common-voice", "common-voice-sentences/en.test.txt.xz"),
    ):
        spoken = filter(None, map(asr_text, corpora.lines(file)))
        yield Part(name=f"spoken/{name}.txt", role="test", lines=spoken)
