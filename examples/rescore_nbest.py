"""Rescore N-best lists with a running server, and count the words before and after.

    python examples/rescore_nbest.py nbest.jsonl.gz --lm-scale 9.5 --mix 0.5

A line of the file is an utterance: {"utt": id, "ref": words, "hyps": [{"text", "am", "lm"}, ...]},
the recogniser's best hypothesis first, natural logarithms. The language models are mixed as in
Kaldi's scripts: am + scale * ((1 - mix) * lm + mix * served model) + ln(word penalty) * words.
The re-ranked best goes to standard output as `id words`; needs httpx, and jiwer for error rates.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import httpx


def read_lists(path: Path) -> list[dict[str, Any]]:
    """The utterances of a JSONL file, plain or gzipped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def build_request(lists: list[dict[str, Any]], args: argparse.Namespace) -> dict[str, Any]:
    """The lists in the form of /v1/rescore."""
    utterances = []
    for entry in lists:
        hypotheses = [
            {"text": hyp["text"], "score": hyp["am"], "scores": {"ngram": hyp["lm"]}}
            for hyp in entry["hyps"]
        ]
        utterances.append({"id": entry["utt"], "hypotheses": hypotheses})
    return {
        "model": args.model,
        "utterances": utterances,
        "weights": {"ngram": args.lm_scale * (1 - args.mix)},
        "lm_weight": args.lm_scale * args.mix,
        "length_bonus": math.log(args.word_penalty),
        "carry_context": args.carry_context,
        "top_n": 1,
    }


def best_text(hypotheses: list[dict[str, Any]]) -> str:
    """The first of a list that is sorted best first; nothing where the list is empty."""
    return str(hypotheses[0]["text"]) if hypotheses else ""


def print_error_rates(lists: list[dict[str, Any]], rescored: list[str]) -> None:
    """Word error rates of the recogniser's order and of the new one, on standard error."""
    if importlib.util.find_spec("jiwer") is None:
        print("word error rates need: pip install jiwer", file=sys.stderr)
        return
    jiwer = importlib.import_module("jiwer")
    references = [entry["ref"] for entry in lists]
    before = [best_text(entry["hyps"]) for entry in lists]
    for name, texts in (("first pass", before), ("rescored", rescored)):
        print(f"{name}: WER {100 * jiwer.wer(references, texts):.2f}%", file=sys.stderr)


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rescore N-best lists with a running server.")
    parser.add_argument("file", type=Path, help="JSONL, plain or .gz; the module tells its form")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the server")
    parser.add_argument("--model", default="default", help="name of a served model")
    parser.add_argument("--lm-scale", type=float, default=9.5, help="of all language models")
    parser.add_argument("--mix", type=float, default=0.5, help="the served model's share, 0..1")
    parser.add_argument("--word-penalty", type=float, default=0.65, help="factor for each word")
    parser.add_argument("--carry-context", action="store_true", help="the lists are running speech")
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args(sys.argv[1:])
    lists = read_lists(args.file)
    response = httpx.post(f"{args.url}/v1/rescore", json=build_request(lists, args), timeout=600)
    if response.is_error:
        sys.exit(f"{response.status_code}: {response.text}")
    answer = response.json()
    rescored = [best_text(utterance["hypotheses"]) for utterance in answer["utterances"]]
    for entry, text in zip(lists, rescored, strict=True):
        print(entry["utt"], text)
    print_error_rates(lists, rescored)


if __name__ == "__main__":
    main()
