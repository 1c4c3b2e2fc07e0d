"""What a service does with more work than it can do. A real one, in processes of its own.

    python -m benchmarks.overload [--quick] [--save] [--model DIR]

capacity_per_s: scoring requests a second that `config.lanes` clients get answered, each of whom
    asks again when answered; capacity_ms: percentiles of their times.
overload: `config.times` that many a second, sent whether or not others were answered.
    throughput: answered in full a second, over capacity_per_s. accepted_ms: percentiles of those;
    statuses; liveness_ms: percentiles of probes meanwhile, from a process of their own;
    memory_growth_mb: of the service and its engine, proportional set size.
beside_expensive: median time of short requests beside work of huge cost, over that alone, by what
    is expensive; short_beside_expensive: the largest of them.
restart: of an engine killed under streams. told_s: until the last of them had its end; back_s:
    until the service is ready again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from benchmarks.harness import SHIPPED, Benchmark, Json, new_parser, parse
from benchmarks.load import Client, answered, completion, load_process, percentiles
from benchmarks.service_process import HOST, Service, family, memory_of, running_service
from benchmarks.sse_client import post, receive

_SCORE, _SHORT = "/v1/score", "/v1/next-token"
_SENTENCE = "the rain fell in torrents except at occasional intervals when it was checked . "
_COMPLETIONS = "/v1/completions"


@dataclass(frozen=True)
class Expensive:
    """A request that is much work, how many clients send it, and where."""

    body: Json
    clients: int = 1
    path: str = _COMPLETIONS


EXPENSIVE: dict[str, Expensive] = {
    "n=128 of a long prompt": Expensive({"prompt": _SENTENCE * 60, "n": 128, "max_tokens": 400}),
    "the same with states": Expensive(
        {"prompt": _SENTENCE * 60, "n": 128, "max_tokens": 400, "return_state": True}
    ),
    "n=128 of four clients": Expensive({"prompt": "the", "n": 128, "max_tokens": 400}, clients=4),
    "128 beams": Expensive({"prompt": "the", "n": 128, "use_beam_search": True, "max_tokens": 200}),
    "128 beams, 8,000 stop ids": Expensive(
        {
            "prompt": "the",
            "n": 128,
            "use_beam_search": True,
            "max_tokens": 200,
            "stop_token_ids": list(range(8, 8008)),
        }
    ),
    "8,000 biases": Expensive(
        {
            "prompt": "the",
            "n": 64,
            "max_tokens": 400,
            "logit_bias": {str(token): 0.1 for token in range(8, 8008)},
            "repetition_penalty": 1.1,
        }
    ),
    "256 bad words": Expensive(
        {
            "prompt": "the",
            "n": 64,
            "max_tokens": 400,
            "bad_words": [f"{_SENTENCE * 10}{number}" for number in range(256)],
        }
    ),
    "64 texts of 4,000 words": Expensive(
        {"texts": [f"{number} " + _SENTENCE * 300 for number in range(64)]}, path=_SCORE
    ),
    "1,000-best list": Expensive(
        {
            "utterances": [
                {
                    "hypotheses": [
                        {"text": f"{number} {_SENTENCE * 10}{number}", "score": 0.0}
                        for number in range(1000)
                    ]
                }
            ]
        },
        path="/v1/rescore",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """seconds: of each part; words: of each text that is scored; probes: short requests."""

    lanes: int = 16
    times: int = 5
    seconds: float = 12
    words: int = 400
    probes: int = 40
    streams: int = 8


FULL = Plan()
QUICK = Plan(lanes=4, seconds=1, words=100, probes=4, streams=2)


def _request(number: int, words: int) -> bytes:
    text = (_SENTENCE * (words // 13 + 1)).split()[:words]
    return post(_SCORE, HOST, {"texts": [f"{number} {' '.join(text)}"]})


async def _answer(port: int, request: bytes) -> tuple[int, float]:
    """(status, seconds); status 0 where the connection was refused or broken."""
    begin = time.perf_counter()
    try:
        _, arrivals = await receive(HOST, port, request)
        status = int(arrivals[0][1].split(b" ", 2)[1]) if arrivals else 0
    except OSError:
        status = 0
    return status, time.perf_counter() - begin


def ask_in_lanes(port: int, lanes: int, seconds: float, words: int) -> list[tuple[int, float]]:
    """Each of the lanes asks again when it was answered."""

    async def lane(number: int, until: float) -> list[tuple[int, float]]:
        found = []
        while time.perf_counter() < until:
            number += lanes
            found.append(await _answer(port, _request(number, words)))
        return found

    async def run() -> list[tuple[int, float]]:
        until = time.perf_counter() + seconds
        parts = await asyncio.gather(*(lane(number, until) for number in range(lanes)))
        return [answer for part in parts for answer in part]

    return asyncio.run(run())


def ask_at_rate(port: int, rate: float, seconds: float, words: int) -> list[tuple[int, float]]:
    """So many a second, each in its time; all answers are waited for."""

    async def run() -> list[tuple[int, float]]:
        begin, tasks = time.perf_counter(), []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            request = _request(1_000_000 + number, words)
            tasks.append(asyncio.create_task(_answer(port, request)))
        return await asyncio.gather(*tasks)

    return asyncio.run(run())


def probe_liveness(port: int, seconds: float) -> list[float]:
    """Seconds of each of many probes."""
    end, found = time.perf_counter() + seconds, []
    while (begin := time.perf_counter()) < end:
        with urlopen(f"http://{HOST}:{port}/health/live", timeout=60) as answer:
            answer.read()
        found.append(time.perf_counter() - begin)
        time.sleep(0.02)
    return found


def measure_overload(service: Service, client: Client, prober: Client, plan: Plan) -> Json:
    """Capacity, and what becomes of `times` as much."""
    client(ask_in_lanes, plan.lanes, plan.seconds / 4, plan.words)  # what is only done once
    begin = time.perf_counter()
    calm = client(ask_in_lanes, plan.lanes, plan.seconds, plan.words)
    capacity = sum(status == 200 for status, _ in calm) / (time.perf_counter() - begin)
    memory = memory_of(service.pid).pss
    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(prober, probe_liveness, plan.seconds)
        begin = time.perf_counter()
        answers = client(ask_at_rate, plan.times * capacity, plan.seconds, plan.words)
        took = time.perf_counter() - begin
        liveness = probing.result()
    accepted = [seconds for status, seconds in answers if status == 200]
    return {
        "capacity_per_s": capacity,
        "capacity_ms": percentiles([seconds for _, seconds in calm]),
        "overload": {
            "sent": len(answers),
            "throughput": len(accepted) / took / capacity,
            "accepted_ms": percentiles(accepted),
            "statuses": dict(Counter(str(status) for status, _ in answers)),
            "liveness_ms": percentiles(liveness) | {"max": 1000 * max(liveness)},
            "memory_growth_mb": memory_of(service.pid).pss - memory,
        },
    }


def short_requests(port: int, count: int, first: int) -> float:
    """The median time of so many, in turn, in seconds."""
    bodies = ({"context": f"the {number}", "top_k": 5} for number in range(first, first + count))
    return statistics.median(answered(port, _SHORT, body)[0] for body in bodies)


def measure_expensive(port: int, client: Client, plan: Plan) -> Json:
    """Short requests alone, and beside one that is much work.

    was_running: whether the last short one was answered before the expensive one ended.
    """
    alone = client(short_requests, plan.probes, 0)
    found = {}
    for number, (name, expensive) in enumerate(EXPENSIVE.items(), 1):
        with ThreadPoolExecutor(expensive.clients) as pool:
            asked = [
                pool.submit(_refused_or_answered, port, expensive) for _ in range(expensive.clients)
            ]
            time.sleep(0.3)
            beside = client(short_requests, plan.probes, 10_000 * number)
            outlasted = not any(each.done() for each in asked)
        statuses = dict(Counter(str(each.result()) for each in asked))
        found[name] = {"times": beside / alone, "was_running": outlasted, "statuses": statuses}
    return {"short_ms": 1000 * alone, "beside_expensive": found}


def _refused_or_answered(port: int, expensive: Expensive) -> int:
    own = {"ignore_eos": True, "seed": 1} if expensive.path == _COMPLETIONS else {}
    return asyncio.run(_answer(port, post(expensive.path, HOST, {**own, **expensive.body})))[0]


def measure_restart(service: Service, plan: Plan) -> Json:
    """Kill the engine under streams."""
    bodies = [completion(k, 50_000) for k in range(plan.streams)]
    with ThreadPoolExecutor(plan.streams) as pool:
        requests = [post("/v1/completions", HOST, body) for body in bodies]
        streams = [pool.submit(asyncio.run, _answer(service.port, each)) for each in requests]
        time.sleep(1)
        engine = next(pid for pid in family(service.pid) if _is_engine(pid))
        begin = time.perf_counter()
        os.kill(engine, signal.SIGKILL)
        for stream in streams:
            stream.result()
        told_s = time.perf_counter() - begin
        while not _is_ready(service.port):
            time.sleep(0.01)
    return {"restart": {"told_s": told_s, "back_s": time.perf_counter() - begin}}


def compared_with_goals(figures: Json) -> Json:
    """What `benchmarks.report` compares."""
    beside = figures["beside_expensive"].values()
    return {
        "throughput_at_5x": figures["overload"]["throughput"],
        "liveness_at_5x_ms": figures["overload"]["liveness_ms"]["max"],
        "short_beside_expensive": max(each["times"] for each in beside),
        "engine_back_s": figures["restart"]["back_s"],
    }


def _is_engine(pid: int) -> bool:
    return b"process_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://{HOST}:{port}/health/ready") as answer:
            return bool(answer.status == 200)
    except HTTPError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.overload", __doc__)
    parser.add_argument("--model", type=Path, default=SHIPPED, help="checkpoint that is served")
    options = parse(parser, argv)
    if not options.model.is_dir():
        parser.error(f"--model: there is no checkpoint at {options.model}")
    benchmark = Benchmark("overload", options)
    plan = QUICK if options.quick else FULL
    with (
        running_service(options.model) as service,
        load_process() as load,
        load_process() as probes,
    ):
        client, prober = (Client(executor, service.port) for executor in (load, probes))
        figures = measure_overload(service, client, prober, plan)
        figures |= measure_expensive(service.port, client, plan)
        figures |= measure_restart(service, plan)
        figures |= compared_with_goals(figures)
    benchmark.publish(figures, config={"model": options.model.resolve().name, **asdict(plan)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
