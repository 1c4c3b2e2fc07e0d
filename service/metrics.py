"""Prometheus metrics of one application: its own registry, so that several can live together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.engine.stats import EngineStats

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A next-token request takes a few milliseconds, a long completion seconds.
_LATENCIES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)

StatsByModel = Callable[[], Mapping[str, EngineStats]]


class Metrics:
    """What the HTTP layer counts, and what each engine tells of itself."""

    def __init__(self, engine_stats: StatsByModel) -> None:
        """`engine_stats`: per model name, the engine's counters and gauges by name."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lstm_serve_requests",
            "Requests answered.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self.latency = Histogram(
            "lstm_serve_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ("route",),
            buckets=_LATENCIES_S,
            registry=self.registry,
        )
        self.tokens = Counter(
            "lstm_serve_tokens",
            "Tokens of prompts, of continuations, and of prompts taken from the state cache.",
            ("model", "kind"),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "lstm_serve_requests_in_flight",
            "Requests that are being answered.",
            registry=self.registry,
        )
        self.registry.register(_EngineCollector(engine_stats))

    def count_tokens(
        self, model: str, *, prompt: int = 0, completion: int = 0, cached: int = 0
    ) -> None:
        """Add the usage of one answered request."""
        for kind, count in (("prompt", prompt), ("completion", completion), ("cached", cached)):
            if count:
                self.tokens.labels(model, kind).inc(count)

    def render(self) -> bytes:
        """The page, in Prometheus' text format."""
        return generate_latest(self.registry)


class _EngineCollector(Collector):
    def __init__(self, engine_stats: StatsByModel) -> None:
        self._engine_stats = engine_stats

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for model, stats in self._engine_stats().items():
            for family_of, values in (
                (CounterMetricFamily, stats.counters),
                (GaugeMetricFamily, stats.gauges),
            ):
                for name, value in values.items():
                    if name not in families:
                        full_name, help_text = f"lstm_serve_engine_{name}", f"The engine's {name}."
                        families[name] = family_of(full_name, help_text, labels=("model",))
                    families[name].add_metric((model,), value)
        yield from families.values()
