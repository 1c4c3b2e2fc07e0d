"""Scoring a batch of texts: 64 texts of 32 tokens, Model S, one core.

    python -m benchmarks.scoring [--quick] [--save] [--threads N] [--precision int8|fp32]

score_64x32_vs_nn_lstm: tokens/s of Engine (one request of 64 prompts of 33 tokens, of which 32 are
    scored; from `add_request` to its last output) over those of torch.nn.LSTM on the whole batch,
    every time step at once, with gather - logsumexp over 256 positions at a time, fp32.
engine_tokens_per_s, nn_lstm_tokens_per_s: scored tokens a second of either.
max_error_nats: largest difference between their log-probabilities.

Texts are random token ids, new ones in every round, so that nothing is cached.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.baseline import NnLstm
from benchmarks.driving import scored_prompts
from benchmarks.harness import Benchmark, add_kernel_options, alternate, new_parser, parse
from benchmarks.model_s import (
    MODEL_S,
    build_runner,
    check_error,
    new_engine,
    random_weights,
)
from service.engine.request import Floats
from service.engine.runners.base import ModelRunner
from service.engine.runners.onnx_graph import Arithmetic

TEXTS, TOKENS, ROWS = 64, 32, 64


class Scoring:
    """One set of texts after the other, for either side."""

    def __init__(self, runner: ModelRunner, model: NnLstm, shape: tuple[int, int]) -> None:
        """shape: texts, and scored tokens of each."""
        self._runner, self._model, self._shape = runner, model, shape
        self._draw = np.random.default_rng(0)

    def texts(self) -> list[list[int]]:
        count, length = self._shape
        ids: list[list[int]] = self._draw.integers(
            self._runner.vocab_size, size=(count, length + 1)
        ).tolist()
        return ids

    def by_engine(self, texts: Sequence[Sequence[int]]) -> list[Floats]:
        return scored_prompts(new_engine(self._runner), [texts])[0]

    def by_nn_lstm(self, texts: Sequence[Sequence[int]]) -> Floats:
        scores: Floats = self._model.score(torch.tensor(texts)).numpy()
        return scores

    def largest_error(self) -> float:
        texts = self.texts()
        found = np.stack([scores[1:] for scores in self.by_engine(texts)])
        return float(np.abs(found - self.by_nn_lstm(texts)).max())


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.scoring", __doc__)
    add_kernel_options(parser)
    options = parse(parser, argv)
    benchmark = Benchmark("scoring", options)
    torch.set_num_threads(options.threads)
    precision: Arithmetic = options.precision
    weights = random_weights(MODEL_S)
    runner = build_runner(MODEL_S, weights, precision=precision, rows=ROWS, threads=options.threads)
    scoring = Scoring(runner, NnLstm(MODEL_S, weights), (TEXTS, TOKENS))
    error = check_error(scoring.largest_error(), precision)
    rounds = 3 if options.quick else 15
    timings = alternate(
        {
            "engine": lambda: scoring.by_engine(scoring.texts()),
            "nn_lstm": lambda: scoring.by_nn_lstm(scoring.texts()),
        },
        rounds=rounds,
        sample_seconds=0 if options.quick else 0.5,
    )
    engine, nn_lstm = timings["engine"].median, timings["nn_lstm"].median
    benchmark.publish(
        {
            "score_64x32_vs_nn_lstm": nn_lstm / engine,
            "engine_tokens_per_s": TEXTS * TOKENS / engine,
            "nn_lstm_tokens_per_s": TEXTS * TOKENS / nn_lstm,
            "max_error_nats": error,
        },
        config={
            "model": MODEL_S.to_dict(),
            "precision": precision,
            "threads": options.threads,
            "rows": ROWS,
            "rounds": rounds,
        },
        timings=timings,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
