"""The curves: a service is asked for more and more, and each point says what a unit costs.

Cost is what the service's processes compute (CPU time), so that it can be believed on a machine
that does other things as well; what the clock says is kept beside it.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from benchmarks.growth.scales import Scales
from benchmarks.growth.texts import hypotheses, random_text
from benchmarks.harness import Json
from benchmarks.load import (
    CHAT,
    COMPLETIONS,
    SAYINGS,
    Client,
    all_answered,
    answer_of,
    answered,
    completion,
    streams_at_once,
)
from benchmarks.service_process import Service, cpu_seconds, memory_of
from models.tokenizer import Tokenizer

T = TypeVar("T")
Ask = Callable[[], object]

_LEAST_STREAM_TOKENS = 16
_LARGE_TEXT = 100_000  # bytes
_LANES = 64  # requests under way at once, where many are to be made


@dataclass(frozen=True, kw_only=True)
class Point:
    """cpu_us, clock_us: of one unit. memory_mib: the service's, PSS, after it."""

    x: int
    cpu_us: float
    clock_us: float
    memory_mib: float


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A service that is measured, its load, and the words of its model."""

    service: Service
    client: Client
    tokenizer: Tokenizer

    @classmethod
    def of(cls, service: Service, executor: Executor, tokenizer: Tokenizer) -> Subject:
        return cls(service=service, client=Client(executor, service.port), tokenizer=tokenizer)

    def words(self) -> list[int]:
        """Tokens of plain text that begin a word."""
        ids = range(self.tokenizer.vocab_size)
        return [k for k in ids if self.tokenizer.token_bytes(k).startswith(b" ")]

    def point(self, x: int, units: int, ask: Callable[[], T]) -> tuple[Point, T]:
        """Ask, and see what each of the `units` of work cost."""
        pid = self.service.pid
        cpu, begin = cpu_seconds(pid), time.perf_counter()
        answer = ask()
        clock, cpu = time.perf_counter() - begin, cpu_seconds(pid) - cpu
        memory = memory_of(pid).pss
        each = 1e6 / units
        point = Point(x=x, cpu_us=cpu * each, clock_us=clock * each, memory_mib=memory)
        return point, answer

    def median(self, x: int, units: int, asks: Iterable[Ask]) -> Point:
        """The median of several times, each a new question; the first one only warms up."""
        _, *points = (self.point(x, units, ask)[0] for ask in asks)
        return Point(
            x=x,
            cpu_us=statistics.median(point.cpu_us for point in points),
            clock_us=statistics.median(point.clock_us for point in points),
            memory_mib=points[-1].memory_mib,
        )

    def asking(self, path: str, body: Json) -> Callable[[], tuple[float, Json]]:
        return partial(self.client, answered, path, body)


def streams(subject: Subject, scales: Scales) -> list[Point]:
    """Streams at once; cost of a generated token."""
    return [
        _streams(subject, count, max(_LEAST_STREAM_TOKENS, scales.stream_tokens // count), scales)
        for count in scales.streams
    ]


def _streams(subject: Subject, count: int, tokens: int, scales: Scales) -> Point:
    asks = []
    for number in range(1 + scales.rounds):
        first = 1000 * count + number * count  # of prompts that no other point has
        bodies = [completion(first + k, tokens) for k in range(count)]
        asks.append(partial(subject.client, streams_at_once, bodies))
    return subject.median(count, count * tokens, asks)


def history(subject: Subject, scales: Scales) -> tuple[list[Point], list[Point]]:
    """One conversation, longer and longer: cost of a token that is read, and of one after that.

    The history is behind a state token: what is read is what has been added since the last point.
    """
    draw, words = random.Random(0), subject.words()
    reading, answering = [], []
    state, before = None, 0
    for length in scales.history_tokens:
        body = answer_of(1, seed=0) | {
            "prompt": draw.choices(words, k=length - before),
            "state": state,
            "return_state": True,
        }
        ask = subject.asking(COMPLETIONS, body)
        point, (_, answer) = subject.point(length, length - before, ask)
        reading.append(point)
        state, before = answer["choices"][0]["state"], length
        body = answer_of(scales.answer_tokens, seed=1) | {"prompt": "", "state": state}
        asks = [subject.asking(COMPLETIONS, body)] * (1 + scales.rounds)
        answering.append(subject.median(length, scales.answer_tokens, asks))
    return reading, answering


def texts(subject: Subject, scales: Scales) -> list[Point]:
    """One text to score, longer and longer; cost of a byte. The largest are measured once."""
    words, points = subject.words(), []
    for size in scales.text_bytes:
        once = size > _LARGE_TEXT
        made = [
            random_text(subject.tokenizer, words, size, seed=number)
            for number in range(1 if once else 1 + scales.rounds)
        ]
        asks = [subject.asking("/v1/score", {"texts": [text]}) for text in made]
        points.append(
            subject.point(size, size, asks[0])[0] if once else subject.median(size, size, asks)
        )
    return points


def lists(subject: Subject, scales: Scales) -> list[Point]:
    """One N-best list, longer and longer; cost of a hypothesis."""
    words = subject.words()
    return [
        subject.median(
            size,
            size,
            [
                subject.asking("/v1/rescore", _list(subject.tokenizer, words, size, number))
                for number in range(1 + scales.rounds)
            ],
        )
        for size in scales.list_sizes
    ]


def _list(tokenizer: Tokenizer, words: Sequence[int], size: int, number: int) -> Json:
    found = hypotheses(tokenizer, words, size, seed=number)
    return {"utterances": [{"hypotheses": [{"text": text} for text in found]}]}


def conversations(subject: Subject, scales: Scales) -> tuple[list[Point], list[Point]]:
    """More and more conversations kept open by state tokens; cost of a turn.

    First of the turns that open them, then of further turns in some of all of them: most of those
    the service has long forgotten.
    """
    draw = random.Random(0)
    opening, returning = [], []
    states: list[str] = []
    for count in scales.conversations:
        new = [_turn(scales, number, None) for number in range(len(states), count)]
        point, answers = subject.point(count, len(new), _asking_all(subject, new))
        opening.append(point)
        states += (answer["choices"][0]["state"] for answer in answers)
        chosen = draw.sample(states, min(scales.returning, len(states)))
        again = [_turn(scales, number, state) for number, state in enumerate(chosen)]
        point, _ = subject.point(count, len(again), _asking_all(subject, again))
        returning.append(point)
    return opening, returning


def _asking_all(subject: Subject, bodies: Sequence[Json]) -> Callable[[], list[Json]]:
    return partial(subject.client, all_answered, CHAT, bodies, _LANES)


def _turn(scales: Scales, number: int, state: str | None) -> Json:
    saying = {"role": "user", "content": f"{number} {SAYINGS[number % len(SAYINGS)]}"}
    return answer_of(scales.turn_tokens, seed=number) | {
        "messages": [saying],
        "state": state,
        "return_state": True,
    }


def replica_streams(subject: Subject, replicas: int, scales: Scales) -> Point:
    """Streams at once on so many replicas; cost of a generated token."""
    count = scales.replica_streams
    tokens = max(_LEAST_STREAM_TOKENS, scales.stream_tokens // count)
    return replace(_streams(subject, count, tokens, scales), x=replicas)
