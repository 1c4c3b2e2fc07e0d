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
from service.work_metrics import LATENCIES_S, Work, WorkHistograms

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HELP = {
    "rows": "Rows that the engine has.",
    "running": "Rows that advance in each step of the engine.",
    "waiting": "Sequences that wait for a row.",
    "cache_bytes": "Memory of the state cache, in bytes.",
    "cache_entries": "Prefixes in the state cache.",
    "cache_hits": "Prompts that began after a cached prefix.",
    "cache_lookups": "Prompts for which a cached prefix was looked for.",
    "steps": "Steps of the engine; each advances every running row by one token.",
    "step_rows": "Tokens that were fed to the network, of all rows together.",
    "head_rows": "Distributions over the vocabulary that were computed.",
    "generated_tokens": "Tokens that were drawn.",
    "cached_tokens": "Tokens of prompts that were not computed because their prefix was cached.",
}
_USAGE = "Share of the engine's rows in use, 0 to 1; a row is all the memory a sequence has."
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
            buckets=LATENCIES_S,
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
            "Requests with work in the engine that were answered with a 200, by why they ended.",
            ("model_name", "finished_reason"),
            registry=registry,
        )
        self._work = WorkHistograms()
        registry.register(self._work)
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

    def observe_work(self, model: str, work: Work) -> None:
        """A request that had a model."""
        if work.status == 200:
            for reason in work.finish_reasons or ("stop",):
                self._successes.labels(model, reason).inc()
        self._work.observe(model, work)

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
    if rows := stats.engine.gauges.get("rows"):
        usage = stats.engine.gauges.get("running", 0) / rows
        yield _gauge("vllm:kv_cache_usage_perc", _USAGE, "model_name"), usage
    ready = "Whether the model's engine can compute: 1, or 0 while it starts or is down."
    yield _gauge("lstm_serve_engine_ready", ready, "model"), float(stats.is_ready)
    restarts = "Times that an engine process died or hung and was started again."
    yield _counter("lstm_serve_engine_restarts", restarts, "model"), stats.num_restarts


def _counter(name: str, text: str, label: str) -> CounterMetricFamily:
    return CounterMetricFamily(name, text, labels=(label,))


def _gauge(name: str, text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=(label,))
