"""What each request with work in the engine took, by model, for the metrics page.

A figure is counted once and told under our name and under those that vLLM gave the same thing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# A next-token request takes a few milliseconds, a long completion seconds.
LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_TOKEN_TIMES_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One request's.

    queued_s, first_s, total_s: seconds that its work waited for its first step, from its arrival to
        the engine's first output, and in all; None where there was none.
    finish_reasons: why its continuations ended, each once.
    """

    total_s: float
    queued_s: float | None = None
    first_s: float | None = None
    prompt_tokens: int = 0
    new_tokens: int = 0
    finish_reasons: Collection[str] = ()
    status: int = 200

    def figures(self) -> tuple[float | None, ...]:
        """Those of `_FIGURES`, in that order; None where a request has no such thing."""
        queued_s, first_s = self.queued_s, self.first_s
        if first_s is None:
            return (queued_s, None, None, None, None, self.total_s, self.prompt_tokens, 0)
        decode_s, gaps = self.total_s - first_s, self.new_tokens - 1
        return (
            queued_s,
            first_s,
            decode_s / gaps if gaps > 0 else None,
            None if queued_s is None else max(0.0, first_s - queued_s),
            decode_s,
            self.total_s,
            self.prompt_tokens,
            self.new_tokens,
        )


class _Figure(NamedTuple):
    """ours, vllms: names, without `lstm_serve_` and `vllm:`."""

    text: str
    buckets: Sequence[float]
    ours: str
    vllms: Sequence[str]


_FIGURES = (
    _Figure(
        "Time that a request's work waited for its first step in the engine.",
        LATENCIES_S,
        "queue_time_seconds",
        ("request_queue_time_seconds",),
    ),
    _Figure(
        "Time from a request's arrival to the engine's first output for it.",
        LATENCIES_S,
        "time_to_first_token_seconds",
        ("time_to_first_token_seconds",),
    ),
    _Figure(
        "Time between the tokens of a continuation, a request's mean.",
        _TOKEN_TIMES_S,
        "time_per_output_token_seconds",
        # As vLLM called it first, calls it now, and calls a request's mean.
        (
            "time_per_output_token_seconds",
            "inter_token_latency_seconds",
            "request_time_per_output_token_seconds",
        ),
    ),
    _Figure(
        "Time from a request's arrival to its first output, but for that in the queue.",
        LATENCIES_S,
        "prefill_time_seconds",
        ("request_prefill_time_seconds",),
    ),
    _Figure(
        "Time from a request's first output to the end of its answer.",
        LATENCIES_S,
        "decode_time_seconds",
        ("request_decode_time_seconds",),
    ),
    _Figure(
        "Time from the arrival of a request that had a model to the end of its answer.",
        LATENCIES_S,
        "work_duration_seconds",
        ("e2e_request_latency_seconds",),
    ),
    _Figure(
        "Tokens of a request's prompts.",
        _TOKENS,
        "request_prompt_tokens",
        ("request_prompt_tokens",),
    ),
    _Figure(
        "Tokens that a request generated.",
        _TOKENS,
        "request_new_tokens",
        ("request_generation_tokens",),
    ),
)


class _Counts:
    """How often a figure fell into each bucket, for one model.

    As cheap as counting is: the library's histogram takes a lock and looks through its buckets one
    by one for each of the eight figures of each request.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(upper bound as Prometheus writes it, how many were up to it), the last without bound."""
        names = [*map(floatToGoString, self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


class WorkHistograms(Collector):
    """A histogram of each figure, by model. Used from one event loop."""

    def __init__(self) -> None:
        self._of_model: dict[str, list[_Counts]] = {}

    def observe(self, model: str, work: Work) -> None:
        counts = self._of_model.get(model)
        if counts is None:
            counts = self._of_model[model] = [_Counts(each.buckets) for each in _FIGURES]
        for figure, value in zip(counts, work.figures(), strict=True):
            if value is not None:
                figure.observe(value)

    def collect(self) -> Iterator[Metric]:
        for place, figure in enumerate(_FIGURES):
            names = {f"lstm_serve_{figure.ours}": "model"}
            names.update((f"vllm:{name}", "model_name") for name in figure.vllms)
            for name, label in names.items():
                family = HistogramMetricFamily(name, figure.text, labels=(label,))
                for model, counts in self._of_model.items():
                    of_model = counts[place]
                    family.add_metric((model,), of_model.cumulative(), of_model.total)
                yield family
