"""Where a core's time goes, by place: the service on one core, sampled by the time it computes.

    python -m benchmarks.profile [--quick] [--save] [--before]

{one_stream,streams64}_us_per_token: microseconds of CPU time for a generated token, all the
    service's processes, by place: a process's time as the kernel counted it, divided as the samples
    of that process are. `all` is their sum.
{one_stream,streams64}_share: the same as shares.
{one_stream,streams64}_samples: how many; 1,000 make shares good to one or two hundredths.

A sample belongs to the innermost file that has a place (benchmarks/profile/places.py). Time spent
in the kernel for a system call counts where the call was made. `--before` keeps the figures under
another name, beside which `benchmarks.report` puts the later ones.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import SHIPPED, Benchmark, Json, new_parser, parse
from benchmarks.load import Client, completion, load_process, streams_at_once
from benchmarks.profile.places import ELSEWHERE, PLACES, by_place
from benchmarks.service_process import cores_of, family, own_cpu_seconds, running_service

HOOK = Path(__file__).parent / "hook"
_ANSWER_LIMIT_S = 10.0
_POLL_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Profile:
    """cpu_s: computed at each place, all processes together. tokens: that were generated in it."""

    cpu_s: Mapping[str, float]
    samples: int
    tokens: int

    def us_per_token(self) -> dict[str, float]:
        each = {place: 1e6 * self.cpu_s[place] / self.tokens for place in PLACES}
        return each | {"all": sum(each.values())}

    def shares(self) -> dict[str, float]:
        total = sum(self.cpu_s.values())
        return {place: self.cpu_s[place] / total for place in PLACES}


def profiled(pid: int, folder: Path, work: Callable[[], int]) -> Profile:
    """What the processes of `pid` do meanwhile; `work` says how many tokens were generated.

    Each process's time is what the kernel counted, divided as its samples are. Ticks of the
    clock, which samples hang on, favour processes that run long without a pause, so samples of
    different processes do not compare.
    """
    pids = family(pid)
    _reports(pids, folder)  # what came before
    before = [own_cpu_seconds(member) for member in pids]
    tokens = work()
    spent = [own_cpu_seconds(m) - b for m, b in zip(pids, before, strict=True)]
    cpu_s, samples = dict.fromkeys(PLACES, 0.0), 0
    for counts, seconds in zip(_reports(pids, folder), spent, strict=True):
        found = by_place(counts) or Counter({ELSEWHERE: 1})
        samples += sum(counts.values())
        for place, number in found.items():
            cpu_s[place] += seconds * number / found.total()
    return Profile(cpu_s=cpu_s, samples=samples, tokens=tokens)


def hooked(folder: Path) -> dict[str, str]:
    """The environment in which a Python process, and what it starts, samples into `folder`."""
    paths = [str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "PROFILE_FOLDER": str(folder)}


def _reports(pids: Sequence[int], folder: Path) -> list[dict[str, int]]:
    """What each process has sampled since it was last asked."""
    paths = [folder / f"{member}.json" for member in pids]
    for member, path in zip(pids, paths, strict=True):
        path.unlink(missing_ok=True)
        os.kill(member, signal.SIGUSR1)
    limit = time.monotonic() + _ANSWER_LIMIT_S
    while not all(path.exists() for path in paths):
        if time.monotonic() > limit:
            raise RuntimeError(f"not every process of {pids} says what it sampled")
        time.sleep(_POLL_S)
    return [json.loads(path.read_text("utf-8")) for path in paths]


def streams_for(client: Client, streams: int, tokens: int, seconds: float) -> int:
    """Streams at once, again and again; how many tokens came."""
    end, number, generated = time.monotonic() + seconds, 0, 0
    while not number or time.monotonic() < end:
        bodies = [completion(number * streams + k, tokens) for k in range(streams)]
        generated += client(streams_at_once, bodies).tokens
        number += 1
    return generated


def main(argv: Sequence[str] | None = None) -> int:
    parser = new_parser("benchmarks.profile", __doc__)
    parser.add_argument("--before", action="store_true", help="keep as the profile before a change")
    options = parse(parser, argv)
    load_core, core = cores_of(parser)
    benchmark = Benchmark("profile_before" if options.before else "profile", options)
    seconds = 0.5 if options.quick else 20.0
    loads = {"one_stream": (1, 256), "streams64": (64, 64)}
    figures: Json = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = hooked(Path(folder))
        with (
            running_service(SHIPPED, core=core, environment=environment) as service,
            load_process(load_core) as executor,
        ):
            client = Client(executor, service.port)
            for name, (streams, tokens) in loads.items():
                streams_for(client, streams, tokens, seconds / 10)

                def work(streams: int = streams, tokens: int = tokens) -> int:
                    return streams_for(client, streams, tokens, seconds)

                profile = profiled(service.pid, Path(folder), work)
                figures[f"{name}_us_per_token"] = profile.us_per_token()
                figures[f"{name}_share"] = profile.shares()
                figures[f"{name}_samples"] = profile.samples
    benchmark.publish(
        figures,
        config={
            "model": SHIPPED.name,
            "loads": {name: {"streams": s, "tokens": t} for name, (s, t) in loads.items()},
            "seconds": seconds,
            "cores": {"load": load_core, "service": core},
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
