"""Whole files from the command line's code, against the engine alone. One core, en-small.

    python -m benchmarks.bulk [--quick] [--save] [--nbest FILE] [--model DIR]

rescore_vs_engine: hypotheses/s of `lstm-serve rescore` (file read, words segmented, scored, mixed,
    ranked, best written) over those of the engine alone, which has the same token ids at hand, in
    the same requests. The engine computes in a thread of its own: of a second core, text takes what
    rescore_cpu_s and engine_cpu_s differ by.
score_vs_engine: texts/s of `lstm-serve score` of the same hypotheses, a text a line, likewise.
rescore_hypotheses_per_s, score_texts_per_s, engine_hypotheses_per_s: the rates, by the clock.
rescore_s_per_audio_minute, engine_s_per_audio_minute: processor time, all threads together, for a
    minute of speech. The lists do not say how long the speech was: --words-per-minute of the first
    hypotheses are assumed, by default the 157 of LJ Speech (225,715 words in 23 h 55 min).
nodes_per_audio_minute: tokens that the engine computes, shared prefixes once.

The lists are those of --nbest (JSON lines, as `lstm-serve rescore` takes them); without the default
file they are made up. No state is kept from one round to the next.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from benchmarks.driving import scored_prompts
from benchmarks.harness import PROJECT, SHIPPED, Benchmark, alternate, new_parser, parse
from service.asr.formats import open_writer, read_lists
from service.asr.hypotheses import NBestList
from service.asr.rescoring_job import RescoringJob, rescore_file
from service.asr.scoring import chunked
from service.asr.settings import RescoringSettings
from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from service.engine.prefix_tree import PrefixTree
from service.language_model import LanguageModel
from service.scored_lines import ScoringJob, score_file
from tests.service.asr.made_up_lists import made_up_lists

DEFAULT_LISTS = (
    PROJECT.parent / "shared/data/nbest-more-dev/nbest-pocketsphinx-accented-dev.jsonl.gz"
)
_LJ_SPEECH = 157.3  # words a minute
_MADE_UP = 40


class Bulk:
    """The same lists for the command line's code and for the engine alone."""

    def __init__(self, model: LanguageModel, engine: Engine, path: Path, folder: Path) -> None:
        self._model, self._engine, self._path, self._folder = model, engine, path, folder
        self.lists = list(read_lists(path, "jsonl"))
        weights = {name: 5.0 for own in self.lists for h in own.hypotheses for name in h.scores}
        self._job = RescoringJob(settings=RescoringSettings(lm_weight=5.0, weights=weights))
        self._texts = folder / "texts.txt"
        texts = [h.text for own in self.lists for h in own.hypotheses]
        self._texts.write_text("\n".join(texts) + "\n", encoding="utf-8")
        self.requests = self._requests()
        self.cpu_s: dict[str, list[float]] = {}

    def _requests(self) -> list[list[list[int]]]:
        """The token ids of what is asked of the engine at a time."""
        tokenizer = self._model.tokenizer
        begin, end = tokenizer.bos_id, tokenizer.eos_id
        return [
            [
                [begin, *tokenizer.encode(text), end]
                for text in dict.fromkeys(h.text for own in chunk for h in own.hypotheses)
            ]
            for chunk in chunked(self.lists)
        ]

    def rescore(self) -> None:
        self._timed(
            "rescore",
            lambda: rescore_file(self._model, self._path, self._folder / "best.txt", self._job),
        )

    def score(self) -> None:
        self._timed(
            "score",
            lambda: score_file(
                self._model, self._texts, self._folder / "scores.jsonl", ScoringJob()
            ),
        )

    def engine(self) -> None:
        self._timed("engine", lambda: scored_prompts(self._engine, self.requests))

    def _timed(self, name: str, work: Callable[[], object]) -> None:
        begun = time.process_time()
        work()
        self.cpu_s.setdefault(name, []).append(time.process_time() - begun)

    def check(self) -> None:
        """RuntimeError unless both give the same bits."""
        few = self.lists[:2]
        ranked = self._job.rank(self._model, None, few)
        sums = {h.text: h.extra["lm_logprob"] for own in ranked for h in own.hypotheses}
        texts = list(sums)
        scores = self._model.scores(texts, detail="words")
        for text, score in zip(texts, scores, strict=True):
            if abs(sums[text] - score.logprob) > 1e-4:
                raise RuntimeError(f"rescoring gives {text!r} another score than scoring does")


def audio_minutes(lists: Sequence[NBestList], words_per_minute: float) -> float:
    """How long the first hypotheses take to say."""
    first = (own.hypotheses[0] for own in lists if own.hypotheses)
    return sum(len(own.words) for own in first) / words_per_minute


def lists_file(path: Path | None, folder: Path, quick: bool) -> Path:
    """The lists that are measured, as a file."""
    if path is None and not DEFAULT_LISTS.exists():
        lists = made_up_lists(_MADE_UP, model_knows=1.0, size=100)
    else:
        lists = list(read_lists(path or DEFAULT_LISTS, "jsonl"))
    target = folder / "lists.jsonl"
    with open_writer(target, "jsonl") as writer:
        for own in lists[:4] if quick else lists:
            writer.write(own)
    return target


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = new_parser("benchmarks.bulk", __doc__)
    parser.add_argument("--nbest", type=Path, help="N-best lists, JSON lines")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--words-per-minute", type=float, default=_LJ_SPEECH)
    return parse(parser, argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    benchmark = Benchmark("bulk", options)
    rounds = 1 if options.quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            path = lists_file(options.nbest, folder, options.quick)
            engine, _ = load_engine(options.model, EngineOptions(cache_bytes=0))
            model = LanguageModel.load(options.model, cache_bytes=0)
        except (OSError, ValueError) as error:
            sys.exit(str(error))
        with model:
            bulk = Bulk(model, engine, path, folder)
            bulk.check()
            tasks = {"rescore": bulk.rescore, "score": bulk.score, "engine": bulk.engine}
            timings = alternate(tasks, rounds=rounds, sample_seconds=0)
    cpu_s = {name: sorted(taken)[len(taken) // 2] for name, taken in bulk.cpu_s.items()}
    minutes = audio_minutes(bulk.lists, options.words_per_minute)
    hypotheses = sum(len(own.hypotheses) for own in bulk.lists)
    nodes = sum(PrefixTree(prompts).num_tokens for prompts in bulk.requests)
    engine_s = timings["engine"].median
    benchmark.publish(
        {
            "rescore_vs_engine": engine_s / timings["rescore"].median,
            "score_vs_engine": engine_s / timings["score"].median,
            "rescore_hypotheses_per_s": hypotheses / timings["rescore"].median,
            "score_texts_per_s": hypotheses / timings["score"].median,
            "engine_hypotheses_per_s": hypotheses / engine_s,
            "rescore_cpu_s": cpu_s["rescore"],
            "score_cpu_s": cpu_s["score"],
            "engine_cpu_s": cpu_s["engine"],
            "rescore_s_per_audio_minute": cpu_s["rescore"] / minutes,
            "engine_s_per_audio_minute": cpu_s["engine"] / minutes,
            "nodes_per_audio_minute": nodes / minutes,
        },
        config={
            "lists": (options.nbest or DEFAULT_LISTS).name,
            "num_lists": len(bulk.lists),
            "num_hypotheses": hypotheses,
            "audio_minutes": minutes,
            "words_per_minute": options.words_per_minute,
            "distinct": len(set(map(tuple, chain.from_iterable(bulk.requests)))),
            "rounds": rounds,
        },
        timings=timings,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
