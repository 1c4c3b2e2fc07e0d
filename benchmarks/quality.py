"""How good a checkpoint is: every test set, carried and restarted, fp32 and int8, beside xz.

    python -m benchmarks.quality --model models/pretrained/en-small --data DIR [--prepared DIR]
        [--write] [--baselines CHECKPOINT ...]

`--data` holds the corpora, a folder each (docs/training.md lists them); `--prepared` what
`python -m training prepare` made of them, for authors never seen and for dialogues with the system
line of their kind. Figures are those of
`python -m training evaluate`. int8 is measured with the engine itself, on the same lines as its
fp32. Baselines are checkpoints of other architectures, measured on the same files. With --write all
goes into the checkpoint's metrics.json, from where the service and the model card take it; with
--only, those sets alone are measured, and what is known of others and of int8 stays. Ends in one
JSON line.
"""

from __future__ import annotations

import argparse
import json
import lzma
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from benchmarks.driving import scored_prompts
from benchmarks.test_sets import LANGUAGES, TestSets, sets_in
from models.activation_scales import INT8_LOSS_METRIC
from models.checkpoint import Checkpoint, load_checkpoint, record_metrics
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from training.corpus import Source, read_lines, read_source
from training.evaluate import evaluate_file, model_of

_INT8_LINES = 400  # of each test set


def text_lines(path: Path) -> list[str]:
    """The lines that are counted: of a dialogue, its turns."""
    if ".jsonl" in path.suffixes:
        documents = read_source(Source(path=path))
        turns = [turn for document in documents for turn in document.turns]
        return [turn.content for turn in turns if turn.role != "system"]
    return list(read_lines(path))


def compressed_bits_per_byte(lines: Sequence[str]) -> dict[str, float]:
    """`xz -9e` and `zstd -19 --ultra` on the counted bytes."""
    data = "".join(line + "\n" for line in lines).encode()
    packed = {
        "xz": lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
        "zstd": zstandard.ZstdCompressor(level=19).compress(data),
    }
    return {f"{name}_bits_per_byte": 8 * len(out) / len(data) for name, out in packed.items()}


def measure_sets(checkpoint: Checkpoint, sets: TestSets) -> Iterator[tuple[str, dict[str, float]]]:
    """Per test set: with state carried through it, and restarted at every line."""
    model = model_of(checkpoint)
    for name, (path, line_end) in sets.items():
        started = time.monotonic()
        carried = evaluate_file(model, checkpoint.tokenizer, path)
        restarted = evaluate_file(
            model, checkpoint.tokenizer, path, restart_lines=True, line_end=line_end
        )
        figures = {
            "bits_per_byte": round(carried.bits_per_byte, 4),
            "word_perplexity": round(carried.word_perplexity, 2),
            "token_perplexity": round(carried.token_perplexity, 2),
            "restarted_bits_per_byte": round(restarted.bits_per_byte, 4),
            "restarted_word_perplexity": round(restarted.word_perplexity, 2),
        }
        print(f"{name}: {figures} ({time.monotonic() - started:.0f} s)", file=sys.stderr)
        yield name, figures


def measure_compression(sets: TestSets) -> dict[str, dict[str, float]]:
    return {
        name: {
            key: round(value, 4)
            for key, value in compressed_bits_per_byte(text_lines(path)).items()
        }
        for name, (path, _) in sets.items()
    }


def measure_baseline(folder: Path, sets: TestSets) -> tuple[str, dict[str, Any]]:
    """Architecture, and what is known of a checkpoint of it."""
    checkpoint = load_checkpoint(folder)
    return checkpoint.model.architecture, {
        "parameters": sum(weights.size for weights in checkpoint.weights.values()),
        "training_tokens": checkpoint.training["config"]["loop"]["max_tokens"],
        "test_sets": dict(measure_sets(checkpoint, sets)),
    }


def compare_int8(folder: Path, checkpoint: Checkpoint, sets: TestSets) -> dict[str, float]:
    """int8 against fp32, both by the engine: relative loss, and differences a token in nats."""
    tokenizer, prompts = checkpoint.tokenizer, list[list[int]]()
    for path, _ in sets.values():
        lines = [line for line in text_lines(path) if line]
        step = max(1, len(lines) // _INT8_LINES)
        prompts += [[tokenizer.bos_id, *tokenizer.encode(line)] for line in lines[::step]]
    values = {}
    for precision in ("fp32", "int8"):
        options = EngineOptions(precision=precision, device="cpu", cache_bytes=0)
        (scored,) = scored_prompts(load_engine(folder, options)[0], [prompts])
        values[precision] = np.concatenate([logprobs[1:] for logprobs in scored])
    difference = values["int8"] - values["fp32"]
    return {
        INT8_LOSS_METRIC: float(values["int8"].sum() / values["fp32"].sum() - 1),
        "int8_mean_difference_nats": float(np.abs(difference).mean()),
        "int8_largest_difference_nats": float(np.abs(difference).max()),
        "int8_compared_tokens": len(difference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--prepared", type=Path, help="folder that `training prepare` wrote")
    parser.add_argument("--language", default="en", choices=list(LANGUAGES))
    parser.add_argument("--only", nargs="+", help="names of test sets")
    parser.add_argument("--baselines", type=Path, nargs="*", default=[], metavar="CHECKPOINT")
    parser.add_argument("--write", action="store_true", help="into the checkpoint's metrics.json")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    sets = sets_in(options.language, options.data, options.prepared)
    if options.only:
        sets = {name: sets[name] for name in options.only}
    result: dict[str, Any] = {}
    if not (options.only and INT8_LOSS_METRIC in checkpoint.metrics):
        result = compare_int8(options.model, checkpoint, sets)
        assert math.isfinite(result[INT8_LOSS_METRIC])
    compressed = measure_compression(sets)
    found = {name: figures | compressed[name] for name, figures in measure_sets(checkpoint, sets)}
    result["test_sets"] = found
    if options.baselines:
        measured = (measure_baseline(folder, sets) for folder in options.baselines)
        result["baselines"] = dict(measured)
    if options.write:
        kept = checkpoint.metrics.get("test_sets", {}) if options.only else {}
        metrics = {**checkpoint.metrics, **result, "test_sets": {**kept, **found}}
        record_metrics(options.model, metrics, checkpoint.card)
    print(json.dumps({"benchmark": "quality", "model": checkpoint.digest, **result}))


if __name__ == "__main__":
    main()
