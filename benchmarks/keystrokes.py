"""What a keyboard that proposes words would save: hit rates of the next word, keystrokes saved.

    python -m benchmarks.keystrokes --text FILE [--model DIR] [--asr] [--words N] [--write]

N words (1000) spread evenly over the file, a line apart from the next; the context of a word is its
line up to it. `hit_at_1`, `hit_at_3`: it is the first, or among the first three, of the proposals
before a letter is typed. Keystrokes: three proposals are shown, of the words that begin with what
is typed; one keystroke takes one, with its space. Typing it out costs its letters and a space.
A proposal is one of the `POST /v1/next-word` list of 200. Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import SHIPPED
from models.checkpoint import load_checkpoint, record_metrics
from models.spoken_text import asr_text
from service.language_model import LanguageModel
from training.corpus import CorpusError, read_lines

SHOWN = 3
_LISTED = 200

Propose = Callable[[str], Sequence[str]]
"""Words that may follow a context, the most probable first."""


@dataclass(frozen=True, slots=True)
class Place:
    """A word to be typed, after its context."""

    context: str
    word: str


def places(lines: Sequence[str], count: int) -> list[Place]:
    """`count` words spread evenly over all words of the lines, or all where there are fewer."""
    split = [line.split() for line in lines]
    spots = [(words, k) for words in split for k in range(len(words))]
    step = max(1, len(spots) // count)
    return [Place(" ".join(words[:k]), words[k]) for words, k in spots[::step][:count]]


def keystrokes(word: str, proposals: Sequence[str]) -> int:
    """Keystrokes until the word and its space stand there."""
    for typed in range(len(word)):
        fitting = [w for w in proposals if w.startswith(word[:typed])]
        if word in fitting[:SHOWN]:
            return typed + 1
    return len(word) + 1


def measure(chosen: Sequence[Place], propose: Propose) -> dict[str, float]:
    """Rates in percent over the chosen places."""
    first = shown = needed = plain = 0
    for place in chosen:
        proposals = propose(place.context)
        first += place.word in proposals[:1]
        shown += place.word in proposals[:SHOWN]
        needed += keystrokes(place.word, proposals)
        plain += len(place.word) + 1
    return {
        "words": len(chosen),
        "hit_at_1": round(100 * first / len(chosen), 1),
        "hit_at_3": round(100 * shown / len(chosen), 1),
        "keystrokes_saved": round(100 * (1 - needed / plain), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--text", type=Path, required=True, metavar="FILE")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--asr", action="store_true", help="lower case, no punctuation")
    parser.add_argument("--words", type=int, default=1000, metavar="N")
    parser.add_argument("--write", action="store_true", help="into the checkpoint's metrics.json")
    options = parser.parse_args()
    try:
        lines = [asr_text(x) if options.asr else x for x in read_lines(options.text)]
    except CorpusError as error:
        sys.exit(str(error))
    if not (chosen := places(lines, options.words)):
        sys.exit(f"{options.text} holds no words")
    with LanguageModel.load(options.model) as model:

        def propose(context: str) -> list[str]:
            return [found.word for found in model.next_word(context, top_k=_LISTED).top]

        result: dict[str, Any] = measure(chosen, propose)
    result |= {"text": "/".join(options.text.parts[-2:])}
    result |= {"rendering": "asr" if options.asr else "plain"}
    if options.write:
        checkpoint = load_checkpoint(options.model)
        key = f"keystrokes_{result['rendering']}"
        record_metrics(options.model, {**checkpoint.metrics, key: result}, checkpoint.card)
    print(json.dumps({"benchmark": "keystrokes", "model": str(options.model), **result}))


if __name__ == "__main__":
    main()
