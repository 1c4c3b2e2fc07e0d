"""Running text made ready: authors held out, sentences as recognisers write, WikiText's form.

A file of works is plain text, a paragraph a line; each work follows a line "= Author: Title =".
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator

from models.spoken_text import asr_text

_TITLE = re.compile(r"= (?P<title>[^=].*) =")


def without_works(lines: Iterable[str], author: re.Pattern[str]) -> Iterator[str]:
    """The lines of all works but those whose title line matches `author`."""
    kept = True
    for line in lines:
        if title := _TITLE.fullmatch(line):
            kept = author.search(title["title"]) is None
        if kept:
            yield line


def work(lines: Iterable[str], name: str) -> Iterator[str]:
    """The lines of the works whose title line contains `name`, title lines left out."""
    inside = False
    for line in lines:
        if title := _TITLE.fullmatch(line):
            inside = name in title["title"]
        elif inside:
            yield line


_ABBREVIATIONS = re.compile(
    r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|Capt|Col|Gen|Rev|Prof|Messrs|Hon|vol|No)\.$"
)
_SENTENCE_END = re.compile(r"[.!?][\"'”’)]*\s+(?=[\"'“‘(]?[A-ZА-ЯЁ])")


def sentences(paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph, cut where a stop is followed by a capital."""
    start = 0
    for match in _SENTENCE_END.finditer(paragraph):
        if not _ABBREVIATIONS.search(paragraph[start : match.start() + 1]):
            yield paragraph[start : match.end()].strip()
            start = match.end()
    if rest := paragraph[start:].strip():
        yield rest


def spoken_sentences(lines: Iterable[str], every: int) -> Iterator[str]:
    """Sentences of every n-th paragraph as recognisers write them, of 3 to 40 words.

    Those with figures are left out: a recogniser spells them.
    """
    paragraphs = (line for line in lines if line and not _TITLE.fullmatch(line))
    for number, paragraph in enumerate(paragraphs):
        if number % every:
            continue
        for sentence in sentences(paragraph):
            spoken = asr_text(sentence)
            if 3 <= len(spoken.split()) <= 40 and not re.search(r"\d", spoken):
                yield spoken


_WIKITEXT_TOKEN = re.compile(
    r"\d+(?:[.,]\d+)*"  # a number
    r"|[^\W\d_]+(?:\.[^\W\d_]+)+\.?"  # U.S.
    r"|[^\W_]+(?:'(?!s\b)[^\W\d_]+)?"  # a word, O'Neill
    r"|'s\b|--+|\.\.\.|\S"
)


def wikitext_form(lines: Iterable[str], vocabulary: Container[str]) -> Iterator[str]:
    """Articles as WikiText-2 writes them (Merity et al. 2016).

    Tokens stand apart, hyphens, commas and points inside a token are marked by @, and a word
    outside of the vocabulary is `<unk>`. Paragraphs with more than one of those in 25 tokens are
    left out: WikiText-2 has one in 38.
    """
    for line in lines:
        if title := _TITLE.fullmatch(line):
            yield from ("", f"= {' '.join(_wikitext_tokens(title['title'], vocabulary))} =", "")
            continue
        tokens = _wikitext_tokens(line, vocabulary)
        if tokens.count("<unk>") * 25 <= len(tokens):
            yield " ".join(tokens)


def _wikitext_tokens(line: str, vocabulary: Container[str]) -> list[str]:
    line = re.sub(r"(?<=\w)([-–])(?=\w)", r" @\1@ ", line.replace("’", "'"))
    tokens: list[str] = []
    for part in line.split():
        found = [part] if part in ("@-@", "@–@") else _WIKITEXT_TOKEN.findall(part)
        for token in found:
            figures = re.sub(r"(?<=\d)([.,])(?=\d)", r" @\1@ ", token)
            tokens += figures.split()
    return [token if token in vocabulary else "<unk>" for token in tokens]


def words(lines: Iterable[str]) -> set[str]:
    """Everything between white space."""
    return {word for line in lines for word in line.split()}
