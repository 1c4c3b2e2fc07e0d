"""Scoring N-best lists as prefix trees, against padded batches in torch. Model S, one core.

    python -m benchmarks.rescoring [--quick] [--save] [--nbest FILE] [--model DIR]

nbest_vs_padded_nn_lstm: hypotheses/s of Engine (a request a list, all lists handed in at once; from
    the first `add_request` to the last output) over those of torch.nn.LSTM, fp32, on padded batches
    of 128 hypotheses, sorted by length over all lists, with the softmax on unpadded positions only
    (gather - logsumexp, 256 positions at a time). Segmentation into tokens is in neither.
tokens_per_node: tokens of all hypotheses, begin- and end-of-sequence included, for each node of
    their lists' prefix trees.
engine_hypotheses_per_s, nn_lstm_hypotheses_per_s, engine_tokens_per_s, nn_lstm_tokens_per_s: the
    rates; tokens are scored ones.
max_error_nats: largest difference between the log-probabilities of a token.

The lists are those of --nbest (gzip, a JSON object {"hyps": [{"text": ...}, ...]} a line),
segmented by the tokenizer of --model; the weights are random. Without the default file, or without
a tokenizer, the lists are made up; `lists` in `config` says which they were.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.baseline import NnLstm
from benchmarks.driving import scored_prompts
from benchmarks.harness import (
    PROJECT,
    SHIPPED,
    Benchmark,
    add_kernel_options,
    alternate,
    new_parser,
    parse,
)
from benchmarks.model_s import (
    MODEL_S,
    build_runner,
    check_error,
    new_engine,
    random_weights,
)
from benchmarks.nbest import Lists, made_up_lists, read_lists
from models.checkpoint import TOKENIZER
from models.tokenizer import Tokenizer
from service.engine.runners.base import ModelRunner
from service.engine.runners.onnx_graph import Arithmetic

ROWS = 128
DEFAULT_LISTS = PROJECT.parent / "shared" / "data" / "nbest-pocketsphinx-dev" / "dev.jsonl.gz"
_MADE_UP = 45


class Rescoring:
    """The same lists, for either side."""

    def __init__(self, runner: ModelRunner, model: NnLstm, lists: Lists) -> None:
        self._runner, self._model, self._lists = runner, model, lists
        self._texts = [ids for own in lists.hypotheses for ids in own]

    def by_engine(self) -> list[float]:
        """ln P of every hypothesis."""
        found = scored_prompts(new_engine(self._runner), self._lists.hypotheses)
        return [float(scores[1:].sum(dtype=np.float64)) for own in found for scores in own]

    def by_nn_lstm(self) -> list[float]:
        scores = self._model.score_padded(self._texts)
        return [float(own.sum(dtype=np.float64)) for own in scores]

    def largest_error(self) -> float:
        """Of a token of the first lists."""
        few = self._lists.hypotheses[:3]
        found = scored_prompts(new_engine(self._runner), few)
        expected = self._model.score_padded([ids for own in few for ids in own])
        tokens = np.concatenate([scores[1:] for own in found for scores in own])
        return float(np.abs(tokens - np.concatenate(expected)).max())


def choose_lists(options: argparse.Namespace) -> Lists:
    """The lists that the options ask for; exits with a message where --nbest cannot be read."""
    given: Path | None = options.nbest
    path, tokenizer = given or DEFAULT_LISTS, options.model / TOKENIZER
    if given is None and not (path.exists() and tokenizer.exists()):
        return made_up_lists(_MADE_UP, MODEL_S.vocab_size)
    try:
        lists = read_lists(path, Tokenizer.from_file(tokenizer))
    except (OSError, ValueError) as error:
        raise SystemExit(f"the lists cannot be read: {error}") from error
    largest = max(max(ids) for own in lists.hypotheses for ids in own)
    if largest >= MODEL_S.vocab_size:
        raise SystemExit(f"{tokenizer} has token ids of {MODEL_S.vocab_size} or more")
    return lists


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.rescoring", __doc__)
    add_kernel_options(parser)
    parser.add_argument("--nbest", type=Path, help="N-best lists, .jsonl.gz")
    parser.add_argument(
        "--model", type=Path, default=SHIPPED, help="checkpoint whose tokenizer is used"
    )
    options = parse(parser, argv)
    benchmark = Benchmark("rescoring", options)
    torch.set_num_threads(options.threads)
    precision: Arithmetic = options.precision
    lists = choose_lists(options)
    if options.quick:
        lists = replace(lists, hypotheses=lists.hypotheses[:4])
    weights = random_weights(MODEL_S)
    runner = build_runner(MODEL_S, weights, precision=precision, rows=ROWS, threads=options.threads)
    rescoring = Rescoring(runner, NnLstm(MODEL_S, weights), lists)
    error = check_error(rescoring.largest_error(), precision)
    rounds = 1 if options.quick else 5
    tasks = {"engine": rescoring.by_engine, "nn_lstm": rescoring.by_nn_lstm}
    timings = alternate(tasks, rounds=rounds, sample_seconds=0)
    engine, nn_lstm = timings["engine"].median, timings["nn_lstm"].median
    hypotheses = sum(map(len, lists.hypotheses))
    benchmark.publish(
        {
            "nbest_vs_padded_nn_lstm": nn_lstm / engine,
            "tokens_per_node": lists.tokens_per_node,
            "engine_hypotheses_per_s": hypotheses / engine,
            "nn_lstm_hypotheses_per_s": hypotheses / nn_lstm,
            "engine_tokens_per_s": lists.num_scored / engine,
            "nn_lstm_tokens_per_s": lists.num_scored / nn_lstm,
            "max_error_nats": error,
        },
        config={
            "model": MODEL_S.to_dict(),
            "precision": precision,
            "threads": options.threads,
            "rows": ROWS,
            "rounds": rounds,
            "lists": lists.source,
            "num_lists": len(lists.hypotheses),
            "num_hypotheses": hypotheses,
        },
        timings=timings,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
