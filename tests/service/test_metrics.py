"""The page as a scraper reads it."""

from __future__ import annotations

import math

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.engine.stats import EngineStats
from service.metrics import Metrics, ModelStats


def families(metrics: Metrics) -> dict[str, Metric]:
    return {f.name: f for f in text_string_to_metric_families(metrics.render().decode())}


def value(metrics: Metrics, sample: str, **labels: str) -> float:
    found = [
        one.value
        for family in families(metrics).values()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    return math.nan if len(found) != 1 else found[0]


def make_metrics() -> Metrics:
    engine = EngineStats(
        counters={"steps": 7, "cache_hits": 2, "cache_lookups": 3},
        gauges={"running": 4, "waiting": 5},
    )
    return Metrics(lambda: {"tiny": ModelStats(engine=engine, num_restarts=2)})


def test_counters_are_counters_and_gauges_gauges() -> None:
    """A rate over a gauge of a counter is wrong at each restart, and no tool says so."""
    metrics = make_metrics()
    for name, family in families(metrics).items():
        is_counter = all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        if name.startswith(("lstm_serve_", "vllm:")) and family.type != "histogram":
            assert (family.type == "counter") is is_counter, name
    assert families(metrics)["lstm_serve_engine_steps"].type == "counter"
    assert value(metrics, "lstm_serve_engine_steps_total", model="tiny") == 7
    assert value(metrics, "lstm_serve_engine_restarts_total", model="tiny") == 2
    assert value(metrics, "lstm_serve_engine_ready", model="tiny") == 1


def test_vllms_names_say_the_same() -> None:
    metrics = make_metrics()
    assert value(metrics, "vllm:num_requests_running", model_name="tiny") == 4
    assert value(metrics, "vllm:num_requests_waiting", model_name="tiny") == 5
    assert value(metrics, "vllm:prefix_cache_hits_total", model_name="tiny") == 2
    assert value(metrics, "vllm:prefix_cache_queries_total", model_name="tiny") == 3


def test_usage_and_times_are_counted_by_model() -> None:
    metrics = make_metrics()
    metrics.count_tokens("tiny", prompt=10, completion=5, cached=3)
    metrics.observe_work("tiny", first_s=0.1, total_s=0.5, new_tokens=5, status=200)
    metrics.observe_work("tiny", first_s=None, total_s=0.2, new_tokens=0, status=400)
    assert value(metrics, "lstm_serve_tokens_total", kind="cached") == 3
    assert value(metrics, "vllm:prompt_tokens_total", model_name="tiny") == 10
    assert value(metrics, "vllm:generation_tokens_total", model_name="tiny") == 5
    assert value(metrics, "vllm:request_success_total", model_name="tiny") == 1
    assert value(metrics, "vllm:time_to_first_token_seconds_sum") == 0.1
    assert value(metrics, "vllm:time_per_output_token_seconds_sum") == 0.1
    assert value(metrics, "vllm:e2e_request_latency_seconds_count") == 2


def test_every_family_has_a_text_of_its_own() -> None:
    texts = {name: family.documentation for name, family in families(make_metrics()).items()}
    assert all(len(text) > 10 for text in texts.values()), texts
    assert "process_resident_memory_bytes" in texts


async def test_a_request_is_told_by_its_model(client: httpx.AsyncClient) -> None:
    await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3, "ignore_eos": True})
    page = (await client.get("/metrics")).text
    assert 'vllm:generation_tokens_total{model_name="tiny"} 3.0' in page
    assert 'vllm:time_to_first_token_seconds_count{model_name="tiny"} 1.0' in page
