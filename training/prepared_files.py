"""A corpus written out as it would be trained on: `train.jsonl` and `valid.jsonl`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from training.corpus import Document, Source, empty_corpus, read_sources
from training.sample import KeptDocuments
from training.survey import CorpusFacts, Split, survey


def write_parts(sources: list[Source], out: Path | None, *, dedupe: bool = False) -> CorpusFacts:
    """Read and count a corpus; with `out`, write its two parts there. CorpusError if empty."""
    facts = CorpusFacts()
    with tempfile.TemporaryDirectory() as folder, KeptDocuments(Path(folder) / "kept") as kept:
        for _ in kept.keep(survey(read_sources(sources), facts, dedupe=dedupe)):
            pass
        if not facts.words:
            raise empty_corpus(sources)
        if out is not None:
            split = Split(facts)
            out.mkdir(parents=True, exist_ok=True)
            _write(split.train(kept), out / "train.jsonl")
            _write(split.valid(kept), out / "valid.jsonl")
    return facts


def _write(documents: Iterable[Document], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for document in _joined(documents):
            turns = [{"role": turn.role, "content": turn.content} for turn in document.turns]
            value = {"turns": turns} if turns else {"text": document.text}
            file.write(json.dumps(value, ensure_ascii=False) + "\n")


def _joined(documents: Iterable[Document]) -> Iterator[Document]:
    """Parts of long running text put together again."""
    parts: list[str] = []
    for document in documents:
        if document.turns:
            yield document
            continue
        if document.starts and parts:
            yield Document(text="".join(parts))
            parts = []
        parts.append(document.text)
        if document.ends:
            yield Document(text="".join(parts))
            parts = []
    if parts:
        yield Document(text="".join(parts))
