"""Word error rate of N-best lists before and after rescoring, for each share of the model.

    python -m benchmarks.recognition --nbest FILE [--model DIR] [--write]

FILE: JSON lines, gzip: {"ref": words, "hyps": [{"text", "am", "lm"}, ...]}, the recogniser's best
first, natural logarithms. Total of a hypothesis, as in examples/rescore_nbest.py:
am + scale * ((1 - mix) * lm + mix * model) + ln(word penalty) * words.
The model's scores come from the engine itself. With --write the figures go into the checkpoint's
metrics.json. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jiwer

from benchmarks.driving import scored_prompts
from benchmarks.harness import SHIPPED
from models.checkpoint import load_checkpoint, record_metrics
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine
from service.text.rescoring import Combination, Scored, combine

MIXES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What was said, and what may have been: hypotheses without the model's score."""

    reference: str
    texts: tuple[str, ...]
    scored: tuple[Scored, ...]


def read_utterances(path: Path) -> list[Utterance]:
    """The lists of a file that have a hypothesis."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        entries = [json.loads(line) for line in lines]
    return [
        Utterance(
            reference=entry["ref"],
            texts=tuple(hyp["text"] for hyp in entry["hyps"]),
            scored=tuple(
                Scored(
                    score=hyp["am"],
                    scores={"first": hyp["lm"]},
                    lm_logprob=0.0,
                    num_tokens=1,
                    num_words=len(hyp["text"].split()),
                    eos=True,
                )
                for hyp in entry["hyps"]
            ),
        )
        for entry in entries
        if entry["hyps"]
    ]


def model_scores(folder: Path, utterances: Sequence[Utterance]) -> list[list[float]]:
    """ln P of every hypothesis and its end under the checkpoint."""
    tokenizer = load_checkpoint(folder).tokenizer
    engine, _ = load_engine(folder, EngineOptions(device="cpu", cache_bytes=0))
    requests = [
        [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in utterance.texts]
        for utterance in utterances
    ]
    return [
        [float(logprobs[1:].sum(dtype=float)) for logprobs in scored]
        for scored in scored_prompts(engine, requests)
    ]


def choose(utterance: Utterance, scores: Sequence[float], combination: Combination) -> str:
    """The text of the hypothesis with the highest total."""
    totals = [
        combine(replace(hypothesis, lm_logprob=score), combination)
        for hypothesis, score in zip(utterance.scored, scores, strict=True)
    ]
    return utterance.texts[max(range(len(totals)), key=totals.__getitem__)]


def oracle_text(utterance: Utterance) -> str:
    """The hypothesis nearest to what was said."""
    return min(utterance.texts, key=lambda text: jiwer.wer(utterance.reference, text))


def measure(
    folder: Path, utterances: Sequence[Utterance], lm_scale: float, word_penalty: float
) -> dict[str, Any]:
    """Word error rates in percent: the first pass's order, the best possible, and by `mix`."""
    references = [utterance.reference for utterance in utterances]

    def rate(texts: Sequence[str]) -> float:
        return round(100 * float(jiwer.wer(references, list(texts))), 2)

    scores, rescored = model_scores(folder, utterances), {}
    for mix in MIXES:
        combination = Combination(
            lm_weight=lm_scale * mix,
            length_bonus=math.log(word_penalty),
            weights={"first": lm_scale * (1 - mix)},
        )
        rescored[str(mix)] = rate(
            [choose(u, own, combination) for u, own in zip(utterances, scores, strict=True)]
        )
    return {
        "utterances": len(utterances),
        "lm_scale": lm_scale,
        "word_penalty": word_penalty,
        "first_pass_wer": rate([utterance.texts[0] for utterance in utterances]),
        "oracle_wer": rate([oracle_text(utterance) for utterance in utterances]),
        "wer_by_mix": rescored,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--nbest", type=Path, required=True, help="JSON lines, gzip")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--lm-scale", type=float, default=9.5, help="of all language models")
    parser.add_argument("--word-penalty", type=float, default=0.65, help="factor for each word")
    parser.add_argument("--write", action="store_true", help="into the checkpoint's metrics.json")
    options = parser.parse_args()
    try:
        utterances = read_utterances(options.nbest)
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        sys.exit(f"{options.nbest}: {error!r}")
    result = measure(options.model, utterances, options.lm_scale, options.word_penalty)
    if options.write:
        checkpoint = load_checkpoint(options.model)
        metrics = {**checkpoint.metrics, "recognition": result}
        record_metrics(options.model, metrics, checkpoint.card)
    print(json.dumps({"benchmark": "recognition", "model": str(options.model), **result}))


if __name__ == "__main__":
    main()
