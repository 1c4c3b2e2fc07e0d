"""Perplexity a token and a word, bits a byte: one definition for every figure that is quoted.

NLL is the sum of -ln P over all pieces of the text and one end-of-line token a line, in nats.

    token perplexity = exp(NLL / tokens)
    word perplexity  = exp(NLL / (words + lines))     words: split on white space
    bits per byte    = NLL / (ln 2 * bytes)           bytes: stripped lines, a newline each

Of a dialogue, every turn is a line, closed by the end-of-turn token; role tokens are given, and so
are system turns: they are instructions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from models.architectures import build_model
from models.chat_template import ChatTemplate
from models.checkpoint import Checkpoint
from models.language_model import LanguageModel
from models.sentencepiece_model import UNKNOWN
from models.tokenizer import Tokenizer
from training.corpus import CorpusError, Document, Source, Turn, read_lines, read_source

LineEnd = Literal["newline", "eos"]
_WINDOW = 256
_ROWS = 64


@dataclass(frozen=True)
class Measure:
    """Sums over a text, and the figures derived from them."""

    nll: float
    tokens: int
    words: int
    lines: int
    bytes: int

    @property
    def token_perplexity(self) -> float:
        return math.exp(self.nll / self.tokens)

    @property
    def word_perplexity(self) -> float:
        return math.exp(self.nll / (self.words + self.lines))

    @property
    def bits_per_byte(self) -> float:
        return self.nll / (math.log(2) * self.bytes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "token_perplexity": self.token_perplexity,
            "word_perplexity": self.word_perplexity,
            "bits_per_byte": self.bits_per_byte,
        }


@dataclass(frozen=True)
class Scored:
    """Ids to run through, and which of them count: `counted[t]` is about `ids[t]`."""

    ids: list[int]
    counted: list[bool]


def model_of(checkpoint: Checkpoint) -> LanguageModel:
    """The checkpoint's network in torch, in evaluation mode."""
    model = build_model(checkpoint.model)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in checkpoint.weights.items()})
    return model.eval()


def evaluate_file(
    model: LanguageModel,
    tokenizer: Tokenizer,
    path: Path,
    *,
    restart_lines: bool = False,
    line_end: LineEnd = "newline",
) -> Measure:
    """Measure one file, in one pass with carried state, or afresh at every line."""
    sequences, lines = sequences_of(tokenizer, path, restart_lines, line_end)
    if not lines:
        raise CorpusError(f"{path} is empty: there is nothing to measure")
    unknown = tokenizer.piece_to_id(UNKNOWN)
    assert all(unknown not in sequence.ids for sequence in sequences)
    nll, tokens = _score(model, sequences)
    return _measure(nll, tokens, lines)


def evaluate_stateful(
    tokenizer: Tokenizer, path: Path, losses: Callable[[Tensor], Tensor]
) -> Measure:
    """As `evaluate_file` in one pass over plain text, with losses (T,) from ids (T + 1,)."""
    sequences, lines = sequences_of(tokenizer, path, restart=False, line_end="newline")
    if ".jsonl" in path.suffixes or not lines:
        raise CorpusError(f"{path}: the stateful measures take plain text that is not empty")
    nll = losses(torch.tensor(sequences[0].ids)).double().sum()
    return _measure(float(nll), len(sequences[0].ids) - 1, lines)


def _measure(nll: float, tokens: int, lines: Sequence[str]) -> Measure:
    return Measure(
        nll=nll,
        tokens=tokens,
        words=sum(len(line.split()) for line in lines),
        lines=len(lines),
        bytes=sum(len(line.encode()) + 1 for line in lines),
    )


def sequences_of(
    tokenizer: Tokenizer, path: Path, restart: bool, line_end: LineEnd
) -> tuple[list[Scored], list[str]]:
    """Independent sequences of the file, and its lines."""
    if ".jsonl" in path.suffixes:
        documents = list(read_source(Source(path=path)))
        if not all(d.turns for d in documents):
            raise CorpusError(f"{path}: evaluate takes dialogues (turns) as jsonl, or plain text")
        parts = [part for d in documents for part in _single_turns(d)] if restart else documents
        sequences = [_dialogue(tokenizer, document) for document in parts]
        lines = [t.content for d in documents for t in d.turns if t.role != "system"]
    elif restart:
        lines = list(read_lines(path))
        end = tokenizer.newline_id if line_end == "newline" else tokenizer.eos_id
        sequences = [_all([tokenizer.bos_id, *tokenizer.encode(x), end]) for x in lines]
    else:
        lines = list(read_lines(path))
        sequences = [_all([tokenizer.bos_id, *tokenizer.encode("\n".join(lines) + "\n")])]
    return sequences, lines


def _single_turns(document: Document) -> Iterator[Document]:
    """Every turn by itself, behind the system turns that stand before it."""
    system: list[Turn] = []
    for turn in document.turns:
        if turn.role == "system":
            system.append(turn)
        else:
            yield Document(turns=(*system, turn))


def _all(ids: list[int]) -> Scored:
    return Scored(ids, [False] + [True] * (len(ids) - 1))


def _dialogue(tokenizer: Tokenizer, document: Document) -> Scored:
    template, ids, counted = ChatTemplate.of(tokenizer), [tokenizer.bos_id], [False]
    for turn in document.turns:
        spelled = template.turn(turn.role, turn.content)
        ids += spelled
        given = turn.role == "system"
        counted += [False] + [not given] * (len(spelled) - 1)  # the role is given
    return Scored(ids, counted)


@torch.no_grad()
def _score(model: LanguageModel, sequences: Sequence[Scored]) -> tuple[float, int]:
    """NLL in nats and number of counted tokens; rows of like length run together."""
    nll, tokens = 0.0, 0
    ordered = sorted(sequences, key=lambda s: len(s.ids), reverse=True)
    for first in range(0, len(ordered), _ROWS):
        rows = ordered[first : first + _ROWS]
        longest = len(rows[0].ids)
        ids = torch.zeros(longest, len(rows), dtype=torch.long)
        counted = torch.zeros(longest, len(rows), dtype=torch.bool)
        for k, row in enumerate(rows):
            ids[: len(row.ids), k] = torch.tensor(row.ids)
            counted[: len(row.ids), k] = torch.tensor(row.counted)
        state: Any = model.initial_state(len(rows))
        for start in range(0, longest - 1, _WINDOW):
            stop = min(start + _WINDOW, longest - 1)
            features, state = model(ids[start:stop], state)
            mask = counted[start + 1 : stop + 1]
            targets = ids[start + 1 : stop + 1][mask]
            loss = F.cross_entropy(model.logits(features[mask]), targets, reduction="sum")
            nll += float(loss)
        tokens += int(counted.sum())
    return nll, tokens
