"""What each request with work in the engine took, by model, for the metrics page.

A figure is counted once and told under our name and under those that vLLM gave the same thing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

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


class WorkHistograms(Collector):
    """A histogram of each figure, by model."""

    def __init__(self) -> None:
        self._histograms = [
            Histogram(
                f"lstm_serve_{each.ours}",
                each.text,
                ("model",),
                buckets=each.buckets,
                registry=None,
            )
            for each in _FIGURES
        ]
        self._of_model: dict[str, list[Histogram]] = {}  # found quickly, at each request's end

    def observe(self, model: str, work: Work) -> None:
        histograms = self._of_model.get(model)
        if histograms is None:
            histograms = [histogram.labels(model) for histogram in self._histograms]
            self._of_model[model] = histograms
        for histogram, value in zip(histograms, work.figures(), strict=True):
            if value is not None:
                histogram.observe(value)

    def collect(self) -> Iterator[Metric]:
        for figure, histogram in zip(_FIGURES, self._histograms, strict=True):
            for family in histogram.collect():
                yield family
                for name in figure.vllms:
                    yield _renamed(family, f"vllm:{name}")


def _renamed(family: Metric, name: str) -> Metric:
    """The same under another name, with the label that vLLM has."""
    copy = Metric(name, family.documentation, family.type)
    for sample in family.samples:
        labels = dict(sample.labels)
        labels["model_name"] = labels.pop("model")
        copy.samples.append(
            sample._replace(name=name + sample.name.removeprefix(family.name), labels=labels)
        )
    return copy
