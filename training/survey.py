"""What a corpus holds: counted while it is read, told before it is trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from training.corpus import Document

_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd\ufffe\uffff]")
_SAMPLES = 3
_LEAST_WORDS = 5  # shorter lines stand in any two texts
_MOST_SYSTEM_PROMPTS = 64  # a corpus with more has prompts of free text, not kinds of dialogue


@dataclass
class CorpusFacts:
    """Sums over documents.

    dialogues: documents with turns; with_assistant: those in which an assistant speaks. duplicates:
    documents that came before. odd: characters that text seldom has, controls and U+FFFD. samples:
    the first lines of the first documents. system_prompts: the different ones, as long as they are
    few enough to be kinds of talk.
    """

    documents: int = 0
    lines: int = 0
    words: int = 0
    bytes: int = 0
    dialogues: int = 0
    with_assistant: int = 0
    duplicates: int = 0
    odd: int = 0
    samples: list[str] = field(default_factory=list)
    system_prompts: list[str] = field(default_factory=list)

    @property
    def kinds_of_talk(self) -> list[str] | None:
        """The system prompts where they are few, in order; None where each is one of its own."""
        prompts = self.system_prompts
        return sorted(prompts) if 0 < len(prompts) <= _MOST_SYSTEM_PROMPTS else None

    def describe(self) -> str:
        """One line for people."""
        parts = [
            f"{self.documents:,} documents",
            *([f"{self.dialogues:,} of them dialogues"] if self.dialogues else []),
            f"{self.words:,} words",
            f"{self.bytes / 1e6:.2f} MB",
        ]
        if self.duplicates:
            parts.append(f"{self.duplicates:,} duplicates")
        if self.odd:
            parts.append(f"{self.odd:,} odd characters (controls, U+FFFD)")
        return ", ".join(parts)


def survey(
    documents: Iterable[Document], facts: CorpusFacts, *, dedupe: bool = False
) -> Iterator[Document]:
    """The documents themselves, counted into `facts`; with `dedupe`, without those seen before.

    Parts of running text are no documents of their own, and are never dropped.
    """
    seen: set[int] = set()
    for document in documents:
        whole = document.starts and document.ends
        if whole:
            mark = hash((document.text, document.turns))
            if mark in seen:
                facts.duplicates += 1
                if dedupe:
                    continue
            seen.add(mark)
        _count(document, facts)
        yield document


def _count(document: Document, facts: CorpusFacts) -> None:
    texts = lines_of(document)
    facts.documents += document.starts
    facts.dialogues += bool(document.turns)
    facts.with_assistant += any(turn.role == "assistant" for turn in document.turns)
    _note_system_prompts(document, facts.system_prompts)
    facts.lines += len(texts)
    for text in texts:
        facts.words += len(text.split())
        facts.bytes += len(text.encode("utf-8", "replace")) + 1
        facts.odd += len(_ODD.findall(text))
    if len(facts.samples) < _SAMPLES and document.starts:
        facts.samples.append(next(filter(None, texts), ""))


def _note_system_prompts(document: Document, prompts: list[str]) -> None:
    for turn in document.turns:
        prompt = turn.content.strip()
        is_new = turn.role == "system" and prompt not in prompts
        if is_new and len(prompts) <= _MOST_SYSTEM_PROMPTS:
            prompts.append(prompt)


def lines_of(document: Document) -> list[str]:
    """Lines of a text, turns of a dialogue."""
    if document.turns:
        return [turn.content for turn in document.turns]
    return document.text.removesuffix("\n").split("\n")


class Overlap:
    """How much of a validation text stands word for word in the training text."""

    def __init__(self, valid: Iterable[Document]) -> None:
        self._wanted: dict[int, bool] = {}
        for document in valid:
            self._wanted |= {hash(line): False for line in _long_lines(document)}

    def look_at(self, train: Iterable[Document]) -> Iterator[Document]:
        """The documents themselves, compared while they pass by."""
        for document in train:
            for line in _long_lines(document):
                mark = hash(line)
                if mark in self._wanted:
                    self._wanted[mark] = True
            yield document

    @property
    def share(self) -> float:
        """Of the validation text's different lines of five words or more."""
        return sum(self._wanted.values()) / max(len(self._wanted), 1)


def _long_lines(document: Document) -> list[str]:
    return [line for line in lines_of(document) if len(line.split()) >= _LEAST_WORDS]


class Split:
    """A validation part taken off a corpus: every n-th document, or the end of running text."""

    def __init__(self, facts: CorpusFacts, share: float = 0.05, largest: int = 1_000_000) -> None:
        """share: of the corpus, but no more than about `largest` bytes."""
        self.share = min(share, largest / max(facts.bytes, 1))
        self.by_document = facts.documents >= 40
        self._cut = int(facts.lines * (1 - self.share))

    def describe(self) -> str:
        what = "every {}th document" if self.by_document else "the last {:.1%} of the lines"
        return what.format(round(1 / self.share) if self.by_document else self.share)

    def parts(self, documents: Iterable[Document]) -> Iterator[tuple[bool, Document]]:
        """(whether it is for validation, document) in the order of the corpus."""
        if not self.by_document:
            yield from self._by_line(documents)
            return
        number = 0
        every = max(2, round(1 / self.share))
        for document in documents:
            yield number % every == every - 1, document
            number += document.ends

    def _by_line(self, documents: Iterable[Document]) -> Iterator[tuple[bool, Document]]:
        passed = 0
        for document in documents:
            lines = lines_of(document)
            before, passed = passed, passed + len(lines)
            keep = self._cut - before
            if document.turns or keep <= 0 or keep >= len(lines):
                yield keep <= 0, document
                continue
            head, tail = "\n".join(lines[:keep]) + "\n", "\n".join(lines[keep:]) + "\n"
            yield False, Document(text=head, starts=document.starts, ends=True)
            yield True, Document(text=tail, starts=True, ends=document.ends)

    def train(self, documents: Iterable[Document]) -> Iterator[Document]:
        return (document for is_valid, document in self.parts(documents) if not is_valid)

    def valid(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Its first piece starts a document, whatever was cut before it."""
        first = True
        for is_valid, document in self.parts(documents):
            if is_valid:
                yield Document(
                    document.text, document.turns, document.starts or first, document.ends
                )
                first = False
