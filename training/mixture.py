"""Text of the base's own sort, mixed into an adaptation so that the model keeps what it knew.

French 1999 for rehearsal; Robins 1995 for rehearsal of what a model makes up itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.checkpoint import Checkpoint
from models.tokenizer import Tokenizer
from training.corpus import Document, Source, Turn, read_source, read_sources
from training.distributed import say
from training.evaluate import model_of
from training.formats import ROLES
from training.scoring import sample_documents
from training.survey import CorpusFacts, lines_of, survey

SELF, MIXTURE = "self", "mix.jsonl"
_PART_BYTES = 10_000  # of running text, so that little of it can be taken


def own_files(mix: Sequence[str]) -> Sequence[str]:
    """The files among what is mixed in; ValueError where "self" stands beside them."""
    if SELF in mix and len(mix) > 1:
        raise ValueError('--mix takes files, or "self" alone')
    return [] if SELF in mix else mix


def write_mixture(
    path: Path, base: Checkpoint, corpus: Sequence[Source], other: Sequence[Source], share: float
) -> None:
    """So much of `other`, a part of each source in turn, that it is `share` of the whole.

    Without sources the base makes the text up. Raises CorpusError, and ValueError where the corpus
    can be read only once.
    """
    if any(str(source.path) == "-" for source in corpus):
        raise ValueError("--mix needs to know how much text there is: --corpus - tells too late")
    facts = CorpusFacts()
    for _ in survey(read_sources(corpus), facts):
        pass
    wanted = facts.bytes * share / (1 - share)
    size = 0
    with path.open("w", encoding="utf-8") as file:
        for document in _in_turn(other) if other else _written_by(base, wanted):
            turns = [{"role": t.role, "content": t.content} for t in document.turns]
            value = {"turns": turns} if turns else {"text": document.text}
            file.write(json.dumps(value, ensure_ascii=False) + "\n")
            size += _size(document)
            if size >= wanted:
                break
    say(f"mixed in: {size / 1e6:.2f} MB of {'other text' if other else 'text the base made up'}")
    if size < 0.9 * wanted:
        say(f"WARNING: {wanted / 1e6:.2f} MB were wanted for a share of {share:.0%}: mix in more")


def _size(document: Document) -> int:
    return sum(len(line.encode("utf-8", "replace")) + 1 for line in lines_of(document))


def _in_turn(sources: Sequence[Source]) -> Iterator[Document]:
    """A document, or a part of running text, of each source, again and again."""
    waiting = [read_source(source, part_bytes=_PART_BYTES) for source in sources]
    while waiting:
        for documents in list(waiting):
            document = next(documents, None)
            if document is None:
                waiting.remove(documents)
            else:
                yield document


def _written_by(base: Checkpoint, num_bytes: float) -> Iterator[Document]:
    """Documents that the base makes up, of so many bytes or a little more."""
    model, seed, written = model_of(base), 1, 0
    while written < num_bytes:
        drawn = sample_documents(model, base.tokenizer, count=64, max_tokens=200, seed=seed)
        for ids in drawn:
            document = _document_of(base.tokenizer, ids)
            written += _size(document)
            if document.text or document.turns:
                yield document
        seed += 1


def _document_of(tokenizer: Tokenizer, ids: Sequence[int]) -> Document:
    """A document's ids read back: turns where it begins with a role, else text."""
    roles = {tokenizer.control_ids[f"<|{role}|>"]: role for role in ROLES}
    turns, part, role = list[Turn](), list[int](), ""
    for token in ids:
        if token in roles:
            if role:
                turns.append(Turn(role, tokenizer.decode(part)))
            role, part = roles[token], []
        elif not tokenizer.is_control(token):
            part.append(token)
    if role:
        return Document(turns=(*turns, Turn(role, tokenizer.decode(part))))
    return Document(text=tokenizer.decode(part))
