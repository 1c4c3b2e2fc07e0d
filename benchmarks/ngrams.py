"""The n-gram columns of the cards: modified Kneser-Ney 5-grams over the pieces of a checkpoint.

    python -m benchmarks.ngrams --model models/pretrained/en-small --data DIR [--language en]
        [--max-pieces N] [--only SET ...] [--write]

Like the network's "restarted" figures, contexts begin anew at every line or turn, and its end
counts. `in_domain`: estimated from the set's own train file. `pooled`: from the train files of all
sets together. `mix`: both interpolated, the weight by expectation maximisation on the set's valid
file. No estimate takes more than N pieces (10 million, some GB of memory): of larger files, an
evenly spread share of the lines. Sets without a train file of their own are left out. --write puts
the figures into benchmarks/kneser_ney.json, from where the card takes them. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.ngram_scores import NGramScorer
from benchmarks.quality import text_lines
from benchmarks.test_sets import LANGUAGES, TestSets, sets_in
from models.checkpoint import load_checkpoint
from models.kneser_ney import estimate
from models.tokenizer import Tokenizer

RESULTS = Path(__file__).with_name("kneser_ney.json")
Floats = NDArray[np.float64]
Sentence = list[str]
_EM_STEPS = 50


@dataclass(frozen=True)
class Text:
    """Lines as sentences of pieces, and what the figures divide by."""

    sentences: list[Sentence]
    words: int
    bytes: int

    def figures(self, logprobs: Floats) -> tuple[float, float]:
        """Bits per byte and word perplexity, words + lines, from ln P of every piece and end."""
        nll = -float(logprobs.sum())
        return (
            nll / (math.log(2) * self.bytes),
            math.exp(nll / (self.words + len(self.sentences))),
        )


def read_text(tokenizer: Tokenizer, path: Path) -> Text:
    """The lines of a file, of dialogues the turns, in pieces by number."""
    lines = text_lines(path)
    return Text(
        sentences=[list(map(str, tokenizer.encode(line))) for line in lines],
        words=sum(len(line.split()) for line in lines),
        bytes=sum(len(line.encode()) + 1 for line in lines),
    )


def with_train(sets: TestSets) -> TestSets:
    """The sets that have train and valid files beside their test file."""
    return {
        name: (path, end)
        for name, (path, end) in sets.items()
        if "test" in path.name and _beside(path, "train").exists()
    }


def _beside(path: Path, role: str) -> Path:
    return path.with_name(path.name.replace("test", role))


def share_of(sentences: Sequence[Sentence], share: float) -> list[Sentence]:
    """An evenly spread share of the sentences."""
    return [
        sentence
        for number, sentence in enumerate(sentences)
        if int((number + 1) * share) > int(number * share)
    ]


def mixing_weight(one: Floats, other: Floats) -> float:
    """Weight of `one` under which w * P_one + (1 - w) * P_other is highest; both ln P, (T,)."""
    a, b, weight = np.exp(one), np.exp(other), 0.5
    for _ in range(_EM_STEPS):
        weight = float(np.mean(weight * a / (weight * a + (1 - weight) * b)))
    return weight


def mixed(one: Floats, other: Floats, weight: float) -> Floats:
    """ln(w * P_one + (1 - w) * P_other)."""
    result: Floats = np.log(weight * np.exp(one) + (1 - weight) * np.exp(other))
    return result


def measure(
    tokenizer: Tokenizer, sets: TestSets, max_pieces: int, only: Sequence[str] | None = None
) -> Iterator[tuple[str, Mapping[str, Sequence[float]]]]:
    """Of each set: pooled, in_domain and mix, each bits per byte and word perplexity."""
    paths = {name: path for name, (path, _) in sets.items()}

    def train(name: str, limit: float) -> list[Sentence]:
        """A share of the set's train file with about `limit` pieces at most."""
        sentences = read_text(tokenizer, _beside(paths[name], "train")).sentences
        return share_of(sentences, min(1.0, limit / max(sum(map(len, sentences)), 1)))

    sizes = {name: _beside(path, "train").stat().st_size for name, path in paths.items()}
    # Of each its share by size on disk, so that no corpus need be read twice.
    parts = (train(name, max_pieces * size / sum(sizes.values())) for name, size in sizes.items())
    pooled = NGramScorer(estimate(itertools.chain.from_iterable(parts)))
    for name in paths if only is None else only:
        in_domain = NGramScorer(estimate(train(name, max_pieces)))
        valid = read_text(tokenizer, _beside(paths[name], "valid"))
        test = read_text(tokenizer, paths[name])
        weight = mixing_weight(*(m.logprobs(valid.sentences) for m in (pooled, in_domain)))
        one, other = (model.logprobs(test.sentences) for model in (pooled, in_domain))
        logprobs = {"pooled": one, "in_domain": other, "mix": mixed(one, other, weight)}
        figures = {kind: test.figures(found) for kind, found in logprobs.items()}
        yield name, {kind: (round(b, 3), round(p, 1)) for kind, (b, p) in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True, help="whose pieces are counted")
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--language", default="en", choices=list(LANGUAGES))
    parser.add_argument("--max-pieces", type=int, default=10_000_000, metavar="N")
    parser.add_argument("--only", nargs="*", metavar="SET", help="measure these; pool all")
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS.name}")
    options = parser.parse_args()
    tokenizer = load_checkpoint(options.model).tokenizer
    sets = with_train(sets_in(options.language, options.data, None))
    found = {}
    for name, figures in measure(tokenizer, sets, options.max_pieces, options.only):
        print(f"{name}: {figures}", file=sys.stderr)
        found[name] = figures
    if options.write:
        kept = json.loads(RESULTS.read_text("utf-8"))
        kept["test_sets"] |= found
        RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(json.dumps({"benchmark": "ngrams", "model": str(options.model), "test_sets": found}))


if __name__ == "__main__":
    main()
