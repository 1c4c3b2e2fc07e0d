"""Word error rates of N-best lists under a checkpoint, tuned and cross-validated.

    python -m benchmarks.recognition --nbest FILE [FILE ...] [--ngram LM] [--model DIR] [--write]

FILE: N-best lists with references, in the form `lstm-serve tune` calls jsonl. Each is tuned by
itself and all of them together: first pass; control, the lists' own scores with scale and length
bonus retuned; tuned, with what the model (and the n-gram model) add where cross-validation keeps
it; oracle. With --write the figures go into the checkpoint's metrics.json. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
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

ALL = "all of them"


def measure(sets: dict[str, list[NBestList]]) -> dict[str, Any]:
    """A report for each set of scored lists, and for all together where there are several."""
    if len(sets) > 1:
        sets = {**sets, ALL: [own for lists in sets.values() for own in lists]}
    found = {}
    for name, lists in sets.items():
        report = tune(build_data(lists, {own.id: own.reference or "" for own in lists}))
        print(f"\n{name}", *describe(report), sep="\n", file=sys.stderr)
        found[name] = report.to_dict()
    return found


def score_sets(
    model: LanguageModel, ngram: KenlmModel | None, paths: list[Path]
) -> dict[str, list[NBestList]]:
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
    result = {"ngram": options.ngram is not None, "sets": measure(sets)}
    if options.write:
        checkpoint = load_checkpoint(options.model)
        metrics = {**checkpoint.metrics, "recognition": result}
        record_metrics(options.model, metrics, checkpoint.card)
    print(json.dumps({"benchmark": "recognition", "model": str(options.model), **result}))


if __name__ == "__main__":
    main()
