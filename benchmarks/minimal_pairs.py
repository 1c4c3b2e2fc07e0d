"""Does the model prefer the grammatical one of two sentences that differ in little?

    python -m benchmarks.minimal_pairs --pairs FILE ... [--model DIR] [--asr] [--write]

FILE: JSON lines with "sentence_good" and "sentence_bad", as BLiMP has them (Warstadt et al. 2020; a
file for each of its 67 paradigms). None lie in this repository. A pair is right where ln P of the
good sentence and its end is the higher; equal ones count as wrong. --asr: both as recognisers
write. With --write the figures go into the checkpoint's metrics.json. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import SHIPPED
from models.checkpoint import load_checkpoint, record_metrics
from models.spoken_text import asr_text
from service.language_model import LanguageModel
from training.corpus import CorpusError, read_lines

Pair = tuple[str, str]
Score = Callable[[Sequence[str]], Sequence[float]]


def read_pairs(path: Path) -> list[Pair]:
    """(good, bad) of every line; CorpusError names the line that has not both."""
    pairs = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            entry = json.loads(line)
            pairs.append((str(entry["sentence_good"]), str(entry["sentence_bad"])))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise CorpusError(
                f'{path}, line {number}: needs "sentence_good" and "sentence_bad" ({error!r})'
            ) from error
    if not pairs:
        raise CorpusError(f"{path} holds no pairs")
    return pairs


def accuracy(pairs: Sequence[Pair], score: Score) -> float:
    """Share of the pairs whose good sentence has the higher score."""
    scores = score([sentence for pair in pairs for sentence in pair])
    return sum(g > b for g, b in zip(scores[::2], scores[1::2], strict=True)) / len(pairs)


def measure(files: Sequence[Path], score: Score, *, asr: bool) -> dict[str, Any]:
    """Accuracy in percent by file, and their mean, as BLiMP is quoted."""
    rates = {}
    for path in files:
        pairs = read_pairs(path)
        if asr:
            pairs = [(asr_text(good), asr_text(bad)) for good, bad in pairs]
        rates[path.name.split(".")[0]] = round(100 * accuracy(pairs, score), 1)
    return {"rendering": "asr" if asr else "plain", "mean": statistics.mean(rates.values())} | {
        "by_file": rates
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--asr", action="store_true", help="lower case, no punctuation")
    parser.add_argument("--write", action="store_true", help="into the checkpoint's metrics.json")
    options = parser.parse_args()
    with LanguageModel.load(options.model) as model:

        def score(sentences: Sequence[str]) -> list[float]:
            return [found.logprob for found in model.scores(sentences)]

        try:
            result = measure(options.pairs, score, asr=options.asr)
        except CorpusError as error:
            sys.exit(str(error))
    if options.write:
        checkpoint = load_checkpoint(options.model)
        key = f"minimal_pairs_{result['rendering']}"
        record_metrics(options.model, {**checkpoint.metrics, key: result}, checkpoint.card)
    print(json.dumps({"benchmark": "minimal_pairs", "model": str(options.model), **result}))


if __name__ == "__main__":
    main()
