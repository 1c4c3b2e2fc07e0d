"""What the benchmarks share: alternating timing, facts of the machine, and the one JSON line."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
SHIPPED = PROJECT / "models" / "pretrained" / "en-small"

Json = dict[str, Any]

# Those that decide which kernels a matrix product runs on.
_TELLING_FLAGS = (
    *("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8"),
    *("asimddp", "i8mm", "bf16", "sve"),
)
_PACKAGES = ("numpy", "onnxruntime", "torch", "uvicorn")


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds a call took: the median over the rounds, and the quartiles."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Timing:
        lower, upper = percentile(samples, 25), percentile(samples, 75)
        return cls(median=statistics.median(samples), lower=lower, upper=upper)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed, linear between neighbours."""
    if not values:
        raise ValueError("there are no values to take a percentile of")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def alternate(
    tasks: Mapping[str, Callable[[], object]], *, rounds: int, sample_seconds: float
) -> dict[str, Timing]:
    """Time all tasks in turn, `rounds` times over, so that a machine's moods hit each alike.

    A sample is as many calls as take about `sample_seconds`; 0 for a single one.
    """
    calls = dict.fromkeys(tasks, 1)
    for name, task in tasks.items():
        task()  # what is only done once: kernels chosen, pages touched
        if sample_seconds:
            calls[name] = max(1, math.ceil(sample_seconds / max(_timed(task, 1), 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            samples[name].append(_timed(task, calls[name]))
    return {name: Timing.of(taken) for name, taken in samples.items()}


def _timed(task: Callable[[], object], calls: int) -> float:
    """Seconds a call."""
    begin = time.perf_counter()
    for _ in range(calls):
        task()
    return (time.perf_counter() - begin) / calls


def machine() -> Json:
    """Processor, cores this process may use, the flags that choose kernels, memory, load."""
    fields = _cpu_fields()
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": fields.get("model name") or platform.processor() or "unknown",
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in _TELLING_FLAGS if flag in flags],
        "memory_gb": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_fields() -> dict[str, str]:
    """The first processor's entries in /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").split("\n\n")[0].splitlines() if path.exists() else []
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def versions() -> dict[str, str | None]:
    """Of Python, of the packages that compute, and of this checkout."""
    found: dict[str, str | None] = {"python": platform.python_version(), "checkout": _revision()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def _revision() -> str | None:
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


class Benchmark:
    """One run of a benchmark: its options, and at the end its line.

    Everything that the environment says is noted before anything is measured.
    """

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.options = name, options
        self._facts: Json = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
        }

    def publish(
        self, figures: Json, *, config: Json, timings: Mapping[str, Timing] | None = None
    ) -> None:
        """Print the figures for people, then the JSON line; with --save keep it as a file."""
        result: Json = {"benchmark": self.name, **rounded(figures)}
        if timings:
            result["seconds"] = rounded({name: asdict(t) for name, t in timings.items()})
        result["config"] = {"quick": self.options.quick, **config}
        result |= self._facts
        width = max(len(name) for name in figures)
        for name in figures:
            print(f"{name:<{width}}  {result[name]}")
        if self.options.save:
            RESULTS.mkdir(exist_ok=True)
            text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
            (RESULTS / f"{self.name}.json").write_text(text, encoding="utf-8")
        print(json.dumps(result, ensure_ascii=False), flush=True)


def rounded(value: Any) -> Any:
    """The same with four significant digits: more are noise."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return value


def new_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has; `description`: the module's docstring."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few repetitions: see that it runs, believe nothing"
    )
    parser.add_argument(
        "--save", action="store_true", help="also write benchmarks/results/<name>.json"
    )
    return parser


def add_kernel_options(parser: argparse.ArgumentParser) -> None:
    """Options of the benchmarks that run an engine in their own process, beside torch."""
    parser.add_argument("--threads", type=int, default=1, help="of either side (1)")
    parser.add_argument(
        "--precision", choices=("int8", "fp32"), default="int8", help="of the engine (int8)"
    )


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options; exits with a message where they contradict each other."""
    options = parser.parse_args(argv)
    if options.quick and options.save:
        parser.error("--save keeps figures, and those of --quick are none")
    return options


def replace_between(document: str, text: str, begin: str, end: str) -> str:
    """The document with `text` between two marker lines; ValueError if it has not both of them."""
    before, found, rest = document.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"the document needs the lines {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
