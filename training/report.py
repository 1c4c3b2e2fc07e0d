"""Is it good? A model beside what costs nothing: a unigram, an n-gram, a compressor; and what it
says, and where it fails. On a run's validation text, in the terminal, the card and `report.html`.
"""

from __future__ import annotations

import io
import lzma
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint, num_parameters
from models.tokenizer import Tokenizer
from training.evaluate import model_of
from training.plots import new_figure
from training.report_forms import SAMPLE_SEEDS, SAMPLE_TEMPERATURE, Report, Table
from training.scoring import sample_documents, split_documents, token_losses
from training.shards import Shard
from training.yardsticks import ngram_logprobs, unigram_logprobs

VALID_TOKENS = 30_000
_NGRAM_TOKENS = 40_000_000
_NGRAM_ORDER = 5
_SAMPLE_TOKENS = 60
_WORST = 12
_MANY_STARTS = 40  # documents from which a model may have learnt how one begins


@dataclass(frozen=True)
class HeldOut:
    """A validation text as pieces and as text.

    documents: ids, each from begin on. given: by document, whether an id is given rather than
    predicted (begin, roles), (T,). lines: what is counted as lines, words and bytes.
    """

    documents: list[list[int]]
    given: list[NDArray[np.bool_]]
    lines: list[str]

    @classmethod
    def of(cls, tokenizer: Tokenizer, ids: NDArray[Any]) -> HeldOut:
        documents = split_documents(ids, tokenizer.bos_id)
        known = np.zeros(tokenizer.vocab_size, bool)
        known[tokenizer.bos_id] = True
        for piece, token in tokenizer.control_ids.items():
            known[token] |= piece in ("<|system|>", "<|user|>", "<|assistant|>")
        lines = [line for document in documents for line in _lines(tokenizer, document)]
        return cls(documents, [known[document] for document in documents], lines)

    @property
    def num_bytes(self) -> int:
        return sum(len(line.encode()) + 1 for line in self.lines)

    @property
    def num_words(self) -> int:
        """Words and line ends, as for word perplexity."""
        return sum(len(line.split()) + 1 for line in self.lines)

    def counted(self, losses: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        """The losses that count, of those of `documents` from the second id on."""
        pairs = zip(losses, self.given, strict=True)
        return np.concatenate([loss[~given[1:]].astype(np.float64) for loss, given in pairs])


def _lines(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """Lines of a text, turns of a dialogue."""
    parts, part = list[str](), list[int]()
    for token in [*ids, tokenizer.eos_id]:
        if tokenizer.is_control(token):
            if part:
                parts += tokenizer.decode(part).removesuffix("\n").split("\n")
            part = []
        else:
            part.append(token)
    return parts


def build_report(
    checkpoint: Checkpoint, out: Path, train: Shard, valid: Shard, tables: Sequence[Table] = ()
) -> Report:
    """Measure the checkpoint and its yardsticks on the first 30,000 tokens of `valid`.

    tables: what else was found out.
    """
    tokenizer, model = checkpoint.tokenizer, model_of(checkpoint)
    held_out = HeldOut.of(tokenizer, valid.read(VALID_TOKENS))
    losses = token_losses(model, held_out.documents)
    ids = np.concatenate([np.array(document) for document in held_out.documents])
    learnt = train.read(_NGRAM_TOKENS)
    ngram = ngram_logprobs(
        learnt,
        ids,
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        order=_NGRAM_ORDER,
    )
    rows = {"this model": _figures(held_out, held_out.counted(losses))}
    for name, logprobs in (
        (f"Kneser-Ney {_NGRAM_ORDER}-gram", ngram),
        ("unigram", unigram_logprobs(learnt, ids, tokenizer.vocab_size)),
    ):
        rows[name] = _figures(held_out, held_out.counted(_by_document(-logprobs, held_out)))
    text = "".join(line + "\n" for line in held_out.lines).encode()
    packed = lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)
    rows["xz -9e"] = {"bits_per_byte": 8 * len(packed) / max(len(text), 1)}
    return Report(
        name=out.name,
        facts=_facts(checkpoint, train),
        rows=rows,
        tables=tables,
        worst=hardest_words(tokenizer, held_out, losses),
        samples=_samples(checkpoint, model, learnt),
        notes=_notes(rows, train.num_tokens, len(learnt), tokenizer.vocab_size),
        commands=(
            f"lstm-serve serve --model {out}",
            f"lstm-train evaluate --model {out} --text TEXT",
            f"lstm-train adapt --base {out} --corpus MORE --out {out}-adapted",
        ),
    )


def _figures(held_out: HeldOut, losses: NDArray[np.float64]) -> dict[str, float]:
    nll = float(losses.sum())
    return {
        "bits_per_byte": nll / (math.log(2) * held_out.num_bytes),
        "word_perplexity": math.exp(min(nll / held_out.num_words, 700)),
        "token_perplexity": math.exp(nll / len(losses)),
    }


def _by_document(losses: NDArray[np.float64], held_out: HeldOut) -> list[NDArray[np.float64]]:
    ends = np.cumsum([len(document) for document in held_out.documents])
    return [part[1:] for part in np.split(losses, ends[:-1])]


def _notes(
    rows: Mapping[str, Mapping[str, float]], train_tokens: int, counted: int, vocab_size: int
) -> list[str]:
    names = list(rows)
    mine, ngram = (rows[name]["bits_per_byte"] for name in names[:2])
    notes = []
    if rows["this model"]["token_perplexity"] > vocab_size:
        notes.append("WARNING: this model is worse than a uniform guess.")
    elif mine >= ngram:
        notes.append(
            f"WARNING: the n-gram is better by {mine - ngram:.3f} bits a byte: train longer "
            "(--epochs), on more text, or adapt a trained model instead (lstm-train adapt)."
        )
    else:
        notes.append(f"Better than the n-gram by {1 - mine / ngram:.1%} in bits a byte.")
    if counted < train_tokens:
        notes.append(f"The n-gram is of the first {counted:,} of {train_tokens:,} training tokens.")
    return notes


def hardest_words(
    tokenizer: Tokenizer, held_out: HeldOut, losses: Sequence[NDArray[Any]]
) -> list[tuple[str, float, int]]:
    """Words by the mean nats that they cost, those that were met twice or more first of all."""
    found: dict[str, list[float]] = defaultdict(list)
    for ids, loss, given in zip(held_out.documents, losses, held_out.given, strict=True):
        word, cost = list[int](), 0.0
        for token, nats, known in zip(ids[1:], loss.tolist(), given[1:].tolist(), strict=True):
            if tokenizer.begins_word[token]:
                found[tokenizer.decode(word).strip()].append(cost)
                word, cost = [], 0.0
            if not known and not tokenizer.is_control(token):
                word, cost = [*word, token], cost + nats
        found[tokenizer.decode(word).strip()].append(cost)
    found.pop("", None)
    least = 2 if any(len(costs) > 1 for costs in found.values()) else 1
    means = [(w, sum(c) / len(c), len(c)) for w, c in found.items() if len(c) >= least]
    return sorted(means, key=lambda each: -each[1])[:_WORST]


def _facts(checkpoint: Checkpoint, train: Shard) -> str:
    """Size and length of what was trained, where the checkpoint says."""
    progress = checkpoint.training.get("progress")
    size = f"{num_parameters(checkpoint.model):,} parameters"
    if not progress:
        return size
    return (
        f"{size}, {checkpoint.model.vocab_size:,} pieces; these weights are those after "
        f"{progress['tokens'] / train.num_tokens:.1f} passes over {train.num_tokens:,} tokens, "
        f"{progress['seconds'] / 60:.1f} minutes"
    )


def _samples(checkpoint: Checkpoint, model: Any, learnt: NDArray[Any]) -> list[str]:
    """Texts from their beginning; of running text, which has hardly one, from that of a line."""
    tokenizer = checkpoint.tokenizer
    starts = np.count_nonzero(learnt == tokenizer.bos_id)
    prompt = () if starts >= _MANY_STARTS else (tokenizer.newline_id,)
    return [
        "\n".join(
            _lines(
                tokenizer,
                sample_documents(
                    model,
                    tokenizer,
                    count=1,
                    max_tokens=_SAMPLE_TOKENS,
                    prompt=prompt,
                    seed=seed,
                    temperature=SAMPLE_TEMPERATURE,
                )[0],
            )
        ).strip("\n")
        for seed in SAMPLE_SEEDS
    ]


def bars(report: Report) -> bytes:
    """Bits a byte of all rows, as a PNG."""
    figure, (axes,) = new_figure(1, 1, (7, 2.5))
    names = list(report.rows)[::-1]
    values = [report.rows[name]["bits_per_byte"] for name in names]
    axes.barh(names, values, color=["tab:gray"] * (len(names) - 1) + ["tab:blue"])
    axes.set_xlabel("bits a byte; less is better")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()
