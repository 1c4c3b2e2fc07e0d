"""`python -m training evaluate`"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Checkpoint
    from models.language_model import LanguageModel
    from training.evaluate import Measure

HELP = "perplexity and bits per byte of a text"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--text", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--suite", choices=["blimp"], help="the files are minimal pairs of that form; accuracies"
    )
    parser.add_argument("--restart-lines", action="store_true", help="forget at every line")
    parser.add_argument("--line-end", default="newline", choices=["newline", "eos"])
    parser.add_argument("--json", action="store_true", help="one JSON object, by file")
    parser.add_argument(
        "--record", action="store_true", help="also write the figures into the checkpoint's card"
    )
    stateful = parser.add_argument_group(
        "stateful measures", "they learn from the text while it is read, and are reported apart"
    )
    stateful.add_argument("--neural-cache", action="store_true", help="Grave et al. 2017")
    stateful.add_argument("--cache-size", type=int, default=2000, help="positions remembered")
    stateful.add_argument("--cache-flatness", type=float, default=0.3, help="theta")
    stateful.add_argument("--cache-share", type=float, default=0.1, help="lambda")
    stateful.add_argument("--dynamic", action="store_true", help="Krause et al. 2018")
    stateful.add_argument("--dynamic-rate", type=float, default=0.5, help="learning rate")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from models.checkpoint import load_checkpoint
    from training.evaluate import evaluate_file, evaluate_stateful, model_of

    checkpoint = load_checkpoint(options.model)
    if options.suite:
        return _run_suite(options, checkpoint)
    model = model_of(checkpoint)
    results: dict[str, dict[str, float]] = {}
    stateful: dict[str, dict[str, dict[str, float]]] = {}
    for path in options.text:
        measure = evaluate_file(
            model,
            checkpoint.tokenizer,
            path,
            restart_lines=options.restart_lines,
            line_end=options.line_end,
        )
        results[str(path)] = measure.to_dict()
        _tell(options, str(path), measure)
        for name, losses in _stateful_losses(options, model).items():
            extra = evaluate_stateful(checkpoint.tokenizer, path, losses)
            stateful.setdefault(name, {})[str(path)] = extra.to_dict()
            _tell(options, f"{path}, {name}", extra)
    if options.record:
        _record(options.model, results)
    _measure_int8(options, checkpoint)
    if options.json:
        report = {"model": checkpoint.digest, "results": results}
        print(json.dumps(report | ({"stateful": stateful} if stateful else {}), indent=2))
    return 0


def _run_suite(options: argparse.Namespace, checkpoint: Checkpoint) -> int:
    from training.suites import blimp

    found = blimp(checkpoint, options.text)
    if options.json:
        accuracies = {k: {"accuracy": a.share, "pairs": a.pairs} for k, a in found.items()}
        print(json.dumps({"model": checkpoint.digest, options.suite: accuracies}, indent=2))
        return 0
    for name, accuracy in found.items():
        print(f"{name}: {accuracy.share:.1%} of {accuracy.pairs} pairs")
    return 0


def _measure_int8(options: argparse.Namespace, checkpoint: Checkpoint) -> None:
    """Of a checkpoint that lacks it, the loss by int8, which decides how it is served."""
    import torch

    from models.activation_scales import INT8_LOSS_METRIC
    from models.checkpoint import load_checkpoint, record_metrics
    from training.finish import describe_int8
    from training.int8 import has_int8_form, int8_relative_loss
    from training.scoring import streams_of

    if INT8_LOSS_METRIC in checkpoint.metrics or not has_int8_form(checkpoint.model):
        return
    ids = streams_of(checkpoint.tokenizer, options.text[0])
    if not len(ids):
        return
    loss = int8_relative_loss(checkpoint, torch.from_numpy(ids))
    fresh = load_checkpoint(options.model)
    try:
        record_metrics(options.model, {**fresh.metrics, INT8_LOSS_METRIC: loss}, fresh.card)
    except OSError as error:
        print(f"{options.model} cannot be written: {error}", file=sys.stderr)
    if not options.json:
        print(describe_int8(loss))


def _stateful_losses(
    options: argparse.Namespace, model: LanguageModel
) -> dict[str, Callable[[Tensor], Tensor]]:
    from training.stateful import CacheSettings, DynamicSettings, cache_losses, dynamic_losses

    losses: dict[str, Callable[[Tensor], Tensor]] = {}
    if options.neural_cache:
        cache = CacheSettings(
            size=options.cache_size, flatness=options.cache_flatness, share=options.cache_share
        )
        losses["neural cache"] = functools.partial(cache_losses, model, settings=cache)
    if options.dynamic:
        dynamic = DynamicSettings(rate=options.dynamic_rate)
        losses["dynamic evaluation"] = functools.partial(dynamic_losses, model, settings=dynamic)
    return losses


def _tell(options: argparse.Namespace, name: str, measure: Measure) -> None:
    if not options.json:
        print(
            f"{name}: {measure.bits_per_byte:.4f} bits per byte, "
            f"word perplexity {measure.word_perplexity:.2f}, "
            f"token perplexity {measure.token_perplexity:.2f}"
        )


def _record(folder: Path, results: dict[str, dict[str, float]]) -> None:
    from models.checkpoint import load_checkpoint, record_metrics
    from training.card import evaluations_table, with_measured

    checkpoint = load_checkpoint(folder)
    named = {"/".join(Path(path).parts[-2:]): measure for path, measure in results.items()}
    metrics = dict(checkpoint.metrics)
    metrics["evaluations"] = metrics.get("evaluations", {}) | named
    table = evaluations_table(metrics["evaluations"])
    card = with_measured(checkpoint.card or f"# {folder.name}", table, "evaluations")
    record_metrics(folder, metrics, card)
