"""Rescore N-best lists with a running server, and count the wrong words before and after.

    python examples/rescore_nbest.py nbest.jsonl --lm-weight 4.75 --weight ngram=4.75 --word -0.4

A line of FILE is a list, in either of two forms, the recogniser's best hypothesis first. Logarithms
are natural, and higher is better:

    {"id": "utt-1", "ref": "what was said", "hypotheses": [
        {"text": "...", "score": -1120.3, "scores": {"ngram": -31.0}}, ...]}
    {"utt": "utt-1", "ref": "what was said", "hyps": [{"text": "...", "am": -1120.3, "lm": -31.0}]}

`id` and `ref` may be missing; of the second form `am` is the score and `lm` the score named ngram.
The new best of each list goes to standard output as `id<TAB>words`. docs/rescoring.md has the
formula; a file of any size is read so many lists at a time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from client import Service, batches, open_text, parser

LISTS_AT_A_TIME = 64


def read_lists(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Each line's list in the service's own form."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield as_utterance(json.loads(line), number)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            sys.exit(f"line {number} is no N-best list: {error!r}")


def as_utterance(entry: dict[str, Any], number: int) -> dict[str, Any]:
    """One list, whichever form it has; fields of its own stay."""
    if "hyps" in entry:
        entry["hypotheses"] = [
            {"text": hyp["text"], "score": hyp["am"], "scores": {"ngram": hyp["lm"]}}
            for hyp in entry.pop("hyps")
        ]
    entry["id"] = entry.get("id", entry.pop("utt", number))
    entry["hypotheses"] = list(entry["hypotheses"])
    return entry


def best_text(hypotheses: list[dict[str, Any]]) -> str:
    """The first of a list that is sorted best first; nothing where the list is empty."""
    return str(hypotheses[0]["text"]) if hypotheses else ""


def word_errors(said: str, heard: str) -> int:
    """Substitutions, insertions and deletions: the edit distance in words."""
    words, row = heard.split(), list(range(len(heard.split()) + 1))
    for number, reference in enumerate(said.split(), start=1):
        diagonal, row[0] = row[0], number
        for place, word in enumerate(words, start=1):
            change = diagonal + (word != reference)
            diagonal, row[place] = row[place], min(change, row[place] + 1, row[place - 1] + 1)
    return row[-1]


def parse_weight(text: str) -> tuple[str, float]:
    """`name=2.5`, the factor of a further score."""
    name, _, value = text.partition("=")
    return name, float(value)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("file", help="lists as JSON lines, plain or .gz; - reads standard input")
    options.add_argument("--lm-weight", type=float, default=1.0, help="of the served model")
    options.add_argument(
        "--weight", type=parse_weight, action="append", default=[], help="of a score: name=factor"
    )
    options.add_argument("--word", type=float, default=0.0, help="added for each word")
    args = options.parse_args()
    service = Service(args.url, args.model)
    before = after = length = 0
    with open_text(args.file) as file:
        for batch in batches(read_lists(file), LISTS_AT_A_TIME):
            answer = service.post(
                "/v1/rescore",
                utterances=batch,
                lm_weight=args.lm_weight,
                weights=dict(args.weight),
                length_bonus=args.word,
                top_n=1,
            )
            for sent, found in zip(batch, answer["utterances"], strict=True):
                best = best_text(found["hypotheses"])
                print(sent["id"], best, sep="\t")
                if "ref" in sent:
                    length += len(sent["ref"].split())
                    before += word_errors(sent["ref"], best_text(sent["hypotheses"]))
                    after += word_errors(sent["ref"], best)
    if length:
        rates = f"{100 * before / length:.1f}% before, {100 * after / length:.1f}% after"
        print(f"word error rate: {rates}", file=sys.stderr)


if __name__ == "__main__":
    main()
