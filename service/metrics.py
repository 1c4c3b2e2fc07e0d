"""Prometheus metrics of one application: its own registry, so that several can live together.

Names are ours (`lstm_serve_`) and, for what they have too, vLLM's (`vllm:`), so that dashboards,
autoscalers and gateways made for it work unmodified.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from service.engine.stats import EngineStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A next-token request takes a few milliseconds, a long completion seconds.
_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_TOKEN_TIMES_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)

_HELP = {
    "running": "Rows that advance in each step of the engine.",
    "waiting": "Sequences that wait for a row.",
    "cache_bytes": "Memory of the state cache, in bytes.",
    "cache_entries": "Prefixes in the state cache.",
    "cache_hits": "Prompts that began after a cached prefix.",
    "cache_lookups": "Prompts for which a cached prefix was looked for.",
    "steps": "Steps of the engine; each advances every running row by one token.",
    "cached_tokens": "Tokens of prompts that were not computed because their prefix was cached.",
}
# vLLM's names of what an engine says of itself.
_VLLM_GAUGES = {"running": "vllm:num_requests_running", "waiting": "vllm:num_requests_waiting"}
_VLLM_COUNTERS = {
    "cache_hits": "vllm:prefix_cache_hits",
    "cache_lookups": "vllm:prefix_cache_queries",
}


@dataclass(frozen=True, kw_only=True)
class ModelStats:
    """What is told of one loaded model."""

    engine: EngineStats
    is_ready: bool = True
    num_restarts: int = 0


StatsByModel = Callable[[], Mapping[str, ModelStats]]


class Metrics:
    """What the HTTP layer counts, and what each engine tells of itself."""

    def __init__(self, model_stats: StatsByModel) -> None:
        """`model_stats`: of each loaded model by its name."""
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "lstm_serve_requests",
            "Requests answered, by route and status; 499: the client went away.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.latency = Histogram(
            "lstm_serve_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("route",),
            buckets=_LATENCIES_S,
            registry=registry,
        )
        self.tokens = Counter(
            "lstm_serve_tokens",
            "Tokens of prompts, of continuations, and of prompts taken from the state cache.",
            ("model", "kind"),
            registry=registry,
        )
        self.in_flight = Gauge(
            "lstm_serve_requests_in_flight",
            "Requests that are being answered.",
            registry=registry,
        )
        self._prompt_tokens, self._new_tokens = (
            Counter(f"vllm:{kind}_tokens", f"Tokens {what}.", ("model_name",), registry=registry)
            for kind, what in (("prompt", "of prompts"), ("generation", "generated"))
        )
        self._successes = Counter(
            "vllm:request_success",
            "Requests with work in the engine that were answered with a 200.",
            ("model_name",),
            registry=registry,
        )
        self._first_token, self._token_time, self._total = (
            Histogram(name, text, ("model_name",), buckets=buckets, registry=registry)
            for name, text, buckets in (
                (
                    "vllm:time_to_first_token_seconds",
                    "Time from a request's arrival to the engine's first output for it.",
                    _LATENCIES_S,
                ),
                (
                    "vllm:time_per_output_token_seconds",
                    "Time between the tokens of a continuation, a request's mean.",
                    _TOKEN_TIMES_S,
                ),
                (
                    "vllm:e2e_request_latency_seconds",
                    "Time from a request's arrival to the end of its answer.",
                    _LATENCIES_S,
                ),
            )
        )
        registry.register(_ModelCollector(model_stats))
        ProcessCollector(registry=registry)

    def count_tokens(
        self, model: str, *, prompt: int = 0, completion: int = 0, cached: int = 0
    ) -> None:
        """Add the usage of one answered request."""
        for kind, count in (("prompt", prompt), ("completion", completion), ("cached", cached)):
            if count:
                self.tokens.labels(model, kind).inc(count)
        self._prompt_tokens.labels(model).inc(prompt)
        self._new_tokens.labels(model).inc(completion)

    def observe_work(
        self, model: str, *, first_s: float | None, total_s: float, new_tokens: int, status: int
    ) -> None:
        """A request that had a model: seconds to its first output (None: there was none) and in
        all, tokens generated, HTTP status.
        """
        if status == 200:
            self._successes.labels(model).inc()
        self._total.labels(model).observe(total_s)
        if first_s is None:
            return
        self._first_token.labels(model).observe(first_s)
        if new_tokens > 1:
            self._token_time.labels(model).observe((total_s - first_s) / (new_tokens - 1))

    def render(self) -> bytes:
        """The page, in Prometheus' text format."""
        return generate_latest(self.registry)


class _ModelCollector(Collector):
    """Asks the engines when it is asked."""

    def __init__(self, model_stats: StatsByModel) -> None:
        self._model_stats = model_stats

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for model, stats in self._model_stats().items():
            for family, value in _samples(stats):
                known = families.setdefault(family.name, family)
                assert isinstance(known, CounterMetricFamily | GaugeMetricFamily)
                known.add_metric((model,), value)
        yield from families.values()


def _samples(stats: ModelStats) -> Iterator[tuple[CounterMetricFamily | GaugeMetricFamily, float]]:
    """Each figure of a model with the family that it belongs to."""
    for name, value in stats.engine.counters.items():
        text = _HELP.get(name, f"The engine's {name.replace('_', ' ')}.")
        yield _counter(f"lstm_serve_engine_{name}", text, "model"), value
        if name in _VLLM_COUNTERS:
            yield _counter(_VLLM_COUNTERS[name], text, "model_name"), value
    for name, value in stats.engine.gauges.items():
        text = _HELP.get(name, f"The engine's {name.replace('_', ' ')}.")
        yield _gauge(f"lstm_serve_engine_{name}", text, "model"), value
        if name in _VLLM_GAUGES:
            yield _gauge(_VLLM_GAUGES[name], text, "model_name"), value
    ready = "Whether the model's engine can compute: 1, or 0 while it starts or is down."
    yield _gauge("lstm_serve_engine_ready", ready, "model"), float(stats.is_ready)
    restarts = "Times that an engine process died or hung and was started again."
    yield _counter("lstm_serve_engine_restarts", restarts, "model"), stats.num_restarts


def _counter(name: str, text: str, label: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=(label,))


def _gauge(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=(label,))
