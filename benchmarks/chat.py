"""A chat of ten turns, judged by the model's own figures: is it varied, does it answer the turn?

    python -m benchmarks.chat [--model DIR] [--system LINE] [--conversations N] [--write]

The turns are those of the card, and none of them is in the training data; N conversations (20)
differ in their seeds. Settings are the checkpoint's defaults.

distinct_1, distinct_2: distinct words, and pairs of words, of all answers over their number.
repeated: share of answers that their conversation has had before.
relevance: ln P(answer | its turn) less the mean over the other nine turns, a token: nats that the
    turn alone, without what came before, says about its answer.
first_of_ten: share of answers that their own turn makes more probable than any other does; 10%
    by chance.
bookings: share of answers that speak of booking, ordering, tables, appointments and the like.
Ends in one JSON line.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.driving import scored_prompts
from benchmarks.harness import SHIPPED
from benchmarks.samples import TURNS, Writer
from models.chat_template import ChatTemplate
from models.checkpoint import load_checkpoint, record_metrics
from service.engine.engine import Engine
from service.engine.hosts.async_engine import EngineOptions
from service.engine.hosts.loading import load_engine

SMALL_TALK = TURNS["en"]
_BOOKING = re.compile(
    r"\b(?:book|booked|booking|reserv\w+|appointment|table for|order(?:ed)?|ticket\w*|restaurant"
    r"|flight|hotel|confirm)\b",
    re.IGNORECASE,
)

Score = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""ln P(answer and its end | turn) of each (turn, answer)."""
Count = Callable[[str], int]
"""Tokens of an answer, its end included."""


def variety(conversations: Sequence[Sequence[str]]) -> dict[str, float]:
    """Distinct words and pairs (Li et al. 2016), and answers given twice in a conversation."""
    answers = [answer.split() for answers in conversations for answer in answers]
    words = [word for answer in answers for word in answer]
    pairs = [pair for answer in answers for pair in pairwise(answer)]
    repeated = sum(len(answers) - len(set(answers)) for answers in conversations)
    return {
        "distinct_1": len(set(words)) / max(len(words), 1),
        "distinct_2": len(set(pairs)) / max(len(pairs), 1),
        "repeated": repeated / len(answers),
        "words_an_answer": len(words) / len(answers),
    }


def relevance(
    turns: Sequence[str], conversations: Sequence[Sequence[str]], score: Score, count: Count
) -> dict[str, float]:
    """What the own turn says about an answer, against every other turn in its place."""
    gains, first = [], []
    for answers in conversations:
        for own, answer in enumerate(answers):
            scores = score([(turn, answer) for turn in turns])
            others = [s for k, s in enumerate(scores) if k != own]
            gains.append((scores[own] - statistics.mean(others)) / count(answer))
            first.append(scores[own] > max(others))
    return {"relevance": statistics.mean(gains), "first_of_ten": statistics.mean(first)}


def booking_share(conversations: Sequence[Sequence[str]]) -> float:
    answers = [answer for answers in conversations for answer in answers]
    return sum(_BOOKING.search(answer) is not None for answer in answers) / len(answers)


class TurnScorer:
    """ln P of answers to single turns, by the engine itself."""

    def __init__(self, engine: Engine, template: ChatTemplate) -> None:
        self.engine, self.template = engine, template

    def tokens(self, answer: str) -> list[int]:
        return [*self.template.tokenizer.encode(answer), self.template.end_id]

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        begin = self.template.tokenizer.bos_id
        prompts = [
            [begin, *self.template.turn("user", turn), self.template.opening, *self.tokens(answer)]
            for turn, answer in pairs
        ]
        (found,) = scored_prompts(self.engine, [prompts])
        return [
            float(logprobs[-len(self.tokens(answer)) :].sum(dtype=float))
            for logprobs, (_, answer) in zip(found, pairs, strict=True)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--system", default="", metavar="LINE", help="begins every conversation")
    parser.add_argument("--conversations", type=int, default=20, metavar="N")
    parser.add_argument("--write", action="store_true", help="into the checkpoint's metrics.json")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    if checkpoint.chat_template is None:
        parser.error(f"{options.model} was not trained for chat")
    engine, _ = load_engine(options.model, EngineOptions(device="cpu"))
    writer = Writer(checkpoint, engine)
    scorer = TurnScorer(engine, ChatTemplate.of(checkpoint.tokenizer, checkpoint.chat_template))
    conversations = [
        [answer for _, answer in writer.conversation(SMALL_TALK, options.system, seed)]
        for seed in range(options.conversations)
    ]
    result: dict[str, Any] = {
        **variety(conversations),
        **relevance(SMALL_TALK, conversations, scorer, lambda answer: len(scorer.tokens(answer))),
        "bookings": booking_share(conversations),
    }
    result = {name: round(value, 3) for name, value in result.items()}
    result |= {"conversations": len(conversations), "system": options.system}
    for turn, answer in zip(SMALL_TALK, conversations[0], strict=True):
        print(f"user: {turn}\nassistant: {answer}")
    if options.write:
        metrics = {**checkpoint.metrics, "chat": result}
        record_metrics(options.model, metrics, checkpoint.card)
    print(json.dumps({"benchmark": "chat", "model": checkpoint.digest, **result}))


if __name__ == "__main__":
    main()
