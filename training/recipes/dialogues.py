"""Dialogues made ready: what kind they are is said by a system line, and chats are cleaned.

A dialogue is a list of turns, each a (role, content) pair.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence

Turns = list[tuple[str, str]]


def parse(lines: Iterable[str]) -> Iterator[Turns]:
    """Dialogues of a .jsonl file as `training.corpus` reads them."""
    for line in filter(None, lines):
        yield [(turn["role"], turn["content"].strip()) for turn in json.loads(line)["turns"]]


def dump(dialogues: Iterable[Turns]) -> Iterator[str]:
    """The opposite of `parse`."""
    for turns in dialogues:
        listed = [{"role": role, "content": content} for role, content in turns]
        yield json.dumps({"turns": listed}, ensure_ascii=False)


def tagged(
    dialogues: Iterable[Turns], system: Sequence[str], share: float = 1.0, seed: int = 1
) -> Iterator[Turns]:
    """A share of the dialogues begin with one of the system lines, drawn by the seed."""
    draw = random.Random(seed)
    for turns in dialogues:
        if draw.random() < share:
            yield [("system", draw.choice(system)), *turns]
        else:
            yield turns


def share_of(dialogues: Iterable[Turns], share: float) -> Iterator[Turns]:
    """An evenly spread share of the dialogues."""
    for number, turns in enumerate(dialogues):
        if int((number + 1) * share) > int(number * share):
            yield turns


def spoken_turns(dialogues: Iterable[Turns]) -> Iterator[str]:
    """Every turn as a line of text."""
    yield from (content for turns in dialogues for _, content in turns if content)


def swapped(dialogues: Iterable[Turns]) -> Iterator[Turns]:
    """The same talk from its second turn on, so that the other speaker is the user."""
    for turns in dialogues:
        if len(turns) >= 4:
            yield alternate([content for _, content in turns[1:]])


def alternate(contents: Iterable[str]) -> Turns:
    """Turns of a user and an assistant who take turns; the user begins."""
    return [(("user", "assistant")[n % 2], content) for n, content in enumerate(contents)]


MAX_WORDS = 60  # of a turn in a chat; longer ones are messages run together
MIN_TURNS = 4

_GREETING = re.compile(r"(?:hello|hey|hi|yo)(?: there| again)?[?!., ]*", re.IGNORECASE)
_NOBODY_THERE = re.compile(
    r"(?:are you|r u|you) (?:still )?(?:there|here)\b|anyone there|sorry (?:about|for) earlier"
    r"|had to step (?:out|away)|(?:left|forgot about) (?:the|this) (?:chat|conversation)",
    re.IGNORECASE,
)
_ABOUT_THE_CHAT = re.compile(
    r"chit ?-?chat|chall[ea]nge|contest|prizes?\b|\b(?:ro)?bots?\b|\btrolls?\b|real person"
    r"|prompts?\b|this (?:app|site)|homepage|convos?\b"
    r"|chat ?room|\b(?:turk|hit|mturk)\b(?= worker)|minimum (?:number|turns)",
    re.IGNORECASE,
)
_COARSE = re.compile(r"\b(?:f+u+c+k\w*|shit\w*|bitch\w*|cunt\w*|nigg\w*|fag\w*)\b", re.IGNORECASE)
_EMPTY_REPLY = re.compile(
    r"(?:haha|lol|lmao|ok|okay|hm+|oh|nice|cool|wow|what|huh|hello|hey|hi|um+|\W)+", re.IGNORECASE
)


def clean_chat(dialogues: Iterable[Turns]) -> Iterator[Turns]:
    """Chats without what makes a partner bad, cut into stretches of at least four turns.

    A stretch ends before a turn that greets anew, asks whether anyone is there, talks about the
    collection itself, is coarse, runs many messages together, or answers a question with nothing.
    """
    for turns in dialogues:
        stretch: list[str] = []
        for content in (tidy(content) for _, content in turns):
            if stretch and _breaks(stretch[-1], content):
                yield from _long_enough(stretch)
                stretch = []
            if _usable(content):
                stretch.append(content)
            else:
                yield from _long_enough(stretch)
                stretch = []
        yield from _long_enough(stretch)


def tidy(content: str) -> str:
    """Long laughter, stretched words and rows of marks in their shortest usual form."""
    content = re.sub(r"\b(?:a?(?:ha){2,}h?a*|(?:he){2,}h?)\b", "haha", content, flags=re.IGNORECASE)
    content = re.sub(r"([A-Za-z])\1{3,}", r"\1", content)
    content = re.sub(r"([!?,])\1+", r"\1", content)
    content = re.sub(r"\.{4,}", "...", content)
    return " ".join(content.split())


def _breaks(before: str, content: str) -> bool:
    unanswered = before.rstrip().endswith("?") and _EMPTY_REPLY.fullmatch(content) is not None
    return unanswered or _GREETING.fullmatch(content) is not None


def _usable(content: str) -> bool:
    return (
        content != ""
        and len(content.split()) <= MAX_WORDS
        and not any(p.search(content) for p in (_NOBODY_THERE, _ABOUT_THE_CHAT, _COARSE))
    )


def _long_enough(stretch: list[str]) -> Iterator[Turns]:
    if len(stretch) >= MIN_TURNS:
        yield alternate(stretch)
