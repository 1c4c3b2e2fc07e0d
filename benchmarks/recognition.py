"""Word error rates of N-best lists under a checkpoint, tuned and cross-validated.

    python -m benchmarks.recognition --nbest FILE [FILE ...] [--ngram LM] [--model DIR] [--write]

FILE: N-best lists with references, in the form `lstm-serve tune` calls jsonl. Each is tuned by
itself, and those together that bring the same scores: first pass; control, the lists' own scores
with scale and length bonus retuned; tuned, with what the model (and the n-gram model) add where
cross-validation keeps it; oracle. With --write the figures go into the checkpoint's metrics.json.
Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import SHIPPED
from models.checkpoint import load_checkpoint, record_metrics
from service.asr.formats import read_lists
from service.asr.hypotheses import NBestList
from service.asr.kenlm_model import KenlmModel
from service.asr.scoring import ListScorer
from service.asr.tuning_data import build_data
from service.asr.tuning_report import describe, tune
from service.language_model import LanguageModel

Sets = dict[str, list[NBestList]]


def measure(sets: Sets) -> dict[str, Any]:
    """A report for each set of scored lists, and for those together that bring the same scores."""
    found = {}
    for name, lists in {**sets, **together(sets)}.items():
        report = tune(build_data(lists, {own.id: own.reference or "" for own in lists}))
        print(f"\n{name}", *describe(report), sep="\n", file=sys.stderr)
        found[name] = report.to_dict()
    return found


def together(sets: Sets) -> Sets:
    """The sets whose hypotheses have scores of the same names, where there are several."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, lists in sets.items():
        scores = {key for own in lists for h in own.hypotheses for key in h.scores}
        groups.setdefault(tuple(sorted(scores)), []).append(name)
    return {
        f"{len(names)} sets with {' and '.join(scores) or 'no score'} together": [
            # Sets may number their utterances alike.
            replace(own, id=f"{name}/{own.id}")
            for name in names
            for own in sets[name]
        ]
        for scores, names in groups.items()
        if len(names) > 1
    }


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a card tells of a set. fewer_errors: than the control's, in percent, with interval."""
    rates = {f"{name.replace(' ', '_')}_wer": row["wer"] for name, row in report["rows"].items()}
    gain = report["over_control"]
    return {
        "utterances": report["utterances"],
        **rates,
        "fewer_errors": [gain["relative"], *gain["relative_interval"]],
        "gain": report["gain"],
    }


def score_sets(model: LanguageModel, ngram: KenlmModel | None, paths: list[Path]) -> Sets:
    """The lists of each file, by its name without endings, with the models' word scores."""
    scorer = ListScorer(model, ngram)
    return {
        path.name.removesuffix(".gz").removesuffix(".jsonl"): list(
            scorer.stream(read_lists(path, "jsonl"))
        )
        for path in paths
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nbest", type=Path, required=True, nargs="+", help="JSON lines, .gz too")
    parser.add_argument("--ngram", type=Path, help="n-gram model beside it (extra kenlm)")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--write", action="store_true", help="into the checkpoint's metrics.json")
    options = parser.parse_args()
    try:
        ngram = KenlmModel(options.ngram) if options.ngram else None
        with LanguageModel.load(options.model) as model:
            sets = score_sets(model, ngram, options.nbest)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(str(error))
    result: dict[str, Any] = {"ngram": options.ngram is not None, "sets": measure(sets)}
    if options.write:
        told = {name: summary(own) for name, own in result["sets"].items()}
        checkpoint = load_checkpoint(options.model)
        metrics = {**checkpoint.metrics, "recognition": {**result, "sets": told}}
        record_metrics(options.model, metrics, checkpoint.card)
    print(json.dumps({"benchmark": "recognition", "model": str(options.model), **result}))


if __name__ == "__main__":
    main()
