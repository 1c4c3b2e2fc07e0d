"""What a checkpoint costs: size, start, memory, and speed on one thread, in int8 and in fp32.

    python -m benchmarks.footprint [--model DIR] [--quick] [--write]

Each precision is measured in a fresh process: seconds until the first answer, imports left out;
the process's largest resident set; microseconds a token of one text that is being written; tokens
a second of 64 texts scored together. The text is made up of the tokenizer's own pieces, since what
is said changes no time. With --write the figures go into the checkpoint's metrics.json.
Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import SHIPPED, machine, rounded
from models.checkpoint import WEIGHTS, load_checkpoint, record_metrics
from service.language_model import LanguageModel

_TEXTS, _WORDS, _WRITTEN = 64, 30, 200


def measure(folder: Path, precision: str, rounds: int) -> dict[str, float]:
    """Figures of one precision, in this process."""
    began = time.perf_counter()
    with LanguageModel.load(folder, precision=precision, threads=1, cache_bytes=0) as model:
        model.next_token("")
        started = time.perf_counter() - began
        texts = made_up_texts(model)
        num_tokens = sum(found.num_tokens for found in model.scores(texts))

        def write() -> None:
            model.generate("", max_tokens=_WRITTEN, min_tokens=_WRITTEN, seed=1)

        writing = _median_seconds(write, rounds) / _WRITTEN
        scoring = _median_seconds(lambda: model.scores(texts), rounds)
    return {
        "start_seconds": started,
        "resident_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "microseconds_a_token_written": 1e6 * writing,
        "tokens_scored_a_second": num_tokens / scoring,
    }


def made_up_texts(model: LanguageModel) -> list[str]:
    """Texts of random words, the same each time."""
    draw, tokenizer = random.Random(0), model.tokenizer
    words = [tokenizer.decode([k]).strip() for k in range(tokenizer.vocab_size)]
    words = [word for word in words if word.isalpha()]
    return [" ".join(draw.choices(words, k=_WORDS)) for _ in range(_TEXTS)]


def _median_seconds(task: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        task()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--quick", action="store_true", help="see that it runs, believe nothing")
    parser.add_argument("--write", action="store_true", help="into the checkpoint's metrics.json")
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("--write keeps figures, and those of --quick are none")
    result: dict[str, Any] = {
        "weights_mb": (options.model / WEIGHTS).stat().st_size / 1e6,
        "cpu": machine()["cpu"],
    }
    context = multiprocessing.get_context("spawn")
    for precision in ("int8", "fp32"):
        with context.Pool(1) as pool:
            rounds = 2 if options.quick else 15
            result[precision] = pool.apply(measure, (options.model, precision, rounds))
    result = rounded(result)
    if options.write:
        checkpoint = load_checkpoint(options.model)
        record_metrics(options.model, {**checkpoint.metrics, "footprint": result}, checkpoint.card)
    print(json.dumps({"benchmark": "footprint", "model": str(options.model), **result}))


if __name__ == "__main__":
    main()
