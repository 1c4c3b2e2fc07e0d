"""Mixed work, and clients that misbehave, for as long as is asked: answers and memory stay.

    python -m tests.reliability.soak [--seconds 1800] [--model DIR]

In each round every question is asked at once, among work that is new each time, streams that are
dropped, a reader that takes nothing, and bodies that are refused. An answer must be the first one
to the last bit. Memory (server and engine) is flat where the last sixth of the time holds what the
second sixth held, within 5%. Ends in one line of figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.harness import SHIPPED
from tests.live_server import live_server
from tests.reliability.target import STREAM, Target
from tests.service.conftest import CORPUS

Json = dict[str, Any]
SETTINGS = {
    "LSTM_SERVE_LOG_LEVEL": "error",
    "LSTM_SERVE_CACHE_MB": "16",
    "LSTM_SERVE_MAX_WAIT_S": "3600",  # what is too much is another test's matter
}
_OF_THE_MOMENT = ("id", "created", "usage")
_DROPPED, _NEW = 3, 4
_PATIENCE_S = 300
_REFUSED = (b"{", b"[" * 200_000, b'{"texts": [1, ""]}', b'{"texts": ["a"], "eoss": true}')

QUESTIONS: tuple[tuple[str, Json], ...] = (
    ("/v1/score", {"texts": CORPUS, "detail": "tokens", "top_logprobs": 2}),
    ("/v1/score", {"context": CORPUS[0], "texts": [" and"], "return_state": True}),
    ("/v1/next-token", {"context": "the cat sat on the", "top_k": 5}),
    ("/v1/next-word", {"context": "the cat sat on the", "top_k": 3}),
    ("/v1/rescore", {"utterances": [{"hypotheses": [{"text": text} for text in CORPUS]}]}),
    ("/v1/completions", {"prompt": "the cat", "max_tokens": 40, "n": 3, "seed": 7}),
    (
        "/v1/completions",
        {"prompt": ["the", "a dog"], "max_tokens": 20, "temperature": 0, "seed": 1},
    ),
    ("/v1/completions", {**STREAM, "max_tokens": 60}),
)


@dataclass(kw_only=True)
class Figures:
    """seconds: of the whole; unlike: changed answers; memory_mb: after each round, with when."""

    seconds: float = 0
    answered: int = 0
    unlike: int = 0
    lost: int = 0
    refused: int = 0
    dropped: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def lose(self, path: str, why: str) -> None:
        """Count an answer that did not come."""
        self.lost += 1
        print(f"{path}: {why[:1000]}", file=sys.stderr)

    def memory_between(self, begin: float, end: float) -> float:
        """The median of a part of the time, given as fractions, in MiB."""
        began, span = self.memory_mb[0][0], self.memory_mb[-1][0] - self.memory_mb[0][0]
        part = [mb for when, mb in self.memory_mb if begin * span <= when - began <= end * span]
        return statistics.median(part or [mb for _, mb in self.memory_mb])

    def __str__(self) -> str:
        early, late = self.memory_between(1 / 6, 1 / 3), self.memory_between(5 / 6, 1)
        return (
            f"soak of {self.seconds:.0f} s, {len(self.memory_mb)} rounds: {self.answered} answers "
            f"compared, {self.unlike} changed, {self.lost} lost; {self.dropped} streams dropped, "
            f"{self.refused} bodies refused; statuses {dict(sorted(self.statuses.items()))}; "
            f"memory {early:.0f} MiB early, {late:.0f} MiB late; descriptors "
            f"{self.descriptors[0]} at first, at most {max(self.descriptors)}, "
            f"{self.descriptors[-1]} at the end"
        )


async def soak(target: Target, seconds: float, pause_s: float = 0) -> Figures:
    """Rounds of everything, until so many seconds are over."""
    figures, began, number = Figures(), time.perf_counter(), 0
    first: dict[int, str] = {}
    async with target.client(_PATIENCE_S) as client:
        while time.perf_counter() - began < seconds:
            number += 1
            await _round(client, first, figures, random.Random(number))
            figures.memory_mb.append((time.perf_counter(), target.memory_mb()))
            figures.descriptors.append(target.num_descriptors())
            await asyncio.sleep(pause_s)
    figures.seconds = time.perf_counter() - began
    return figures


async def _round(
    client: httpx.AsyncClient, first: dict[int, str], figures: Figures, draw: random.Random
) -> None:
    dropped = [asyncio.create_task(_begin_stream(client)) for _ in range(_DROPPED)]
    silent = asyncio.create_task(_read_nothing(client))
    new = [asyncio.create_task(_post(client, figures, *_new_work(draw))) for _ in range(_NEW)]
    refused = [asyncio.create_task(_refused(client, figures, body)) for body in _REFUSED]
    order = draw.sample(range(len(QUESTIONS)), len(QUESTIONS))
    answers = await asyncio.gather(*(_post(client, figures, *QUESTIONS[k]) for k in order))
    for k, answer in zip(order, answers, strict=True):
        if answer is None:
            continue
        figures.answered += 1
        if first.setdefault(k, answer) != answer:
            figures.unlike += 1
            print(f"{QUESTIONS[k]}: {first[k][:2000]} became {answer[:2000]}", file=sys.stderr)
    for task in (*dropped, silent):
        figures.dropped += task.cancel()
    await asyncio.gather(*new, *refused)
    await asyncio.gather(*dropped, silent, return_exceptions=True)


async def _post(client: httpx.AsyncClient, figures: Figures, path: str, body: Json) -> str | None:
    """What is the same each time of an answer; of a stream, of all its events. None: lost."""
    try:
        response = await client.post(path, json=body)
    except httpx.HTTPError as error:
        figures.lose(path, repr(error))
        return None
    figures.statuses[response.status_code] += 1
    if response.status_code != 200:
        figures.lose(path, response.text)
        return None
    if body.get("stream"):
        events = [line.removeprefix("data: ") for line in response.text.split("\n\n")]
        parts = [json.loads(event) for event in events if event.startswith("{")]
        return "".join(part["choices"][0]["text"] for part in parts if part["choices"])
    answer = response.json()
    return json.dumps({name: answer[name] for name in answer if name not in _OF_THE_MOMENT})


async def _refused(client: httpx.AsyncClient, figures: Figures, body: bytes) -> None:
    response = await client.post("/v1/score", content=body)
    figures.statuses[response.status_code] += 1
    figures.refused += 400 <= response.status_code < 500


def _new_work(draw: random.Random) -> tuple[str, Json]:
    """Something that nobody asked before."""
    text = " ".join(draw.choice(" ".join(CORPUS).split()) for _ in range(60))
    if draw.random() < 0.5:
        return "/v1/score", {"texts": [text, text[::-1]]}
    return "/v1/completions", {"prompt": text, "max_tokens": 30, "seed": draw.getrandbits(30)}


async def _begin_stream(client: httpx.AsyncClient) -> None:
    body = {**STREAM, "max_tokens": 50_000}
    async with client.stream("POST", "/v1/completions", json=body) as response:
        async for _ in response.aiter_raw():
            pass


async def _read_nothing(client: httpx.AsyncClient) -> None:
    body = {**STREAM, "max_tokens": 50_000}
    async with client.stream("POST", "/v1/completions", json=body):
        await asyncio.sleep(3600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--pause-s", type=float, default=0.1, help="rest after each round")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    given = parser.parse_args()
    with suppress(KeyboardInterrupt), live_server(sys.executable, given.model, SETTINGS) as address:
        figures = asyncio.run(soak(Target(address=address), given.seconds, given.pause_s))
        print(figures)
        if figures.unlike or figures.lost or set(figures.statuses) - {200, 400}:
            sys.exit("answers changed, or requests failed")
        if figures.memory_between(5 / 6, 1) > 1.05 * figures.memory_between(1 / 6, 1 / 3):
            sys.exit("memory grew")


if __name__ == "__main__":
    main()
