"""The page as a scraper reads it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, Metric
from prometheus_client.parser import text_string_to_metric_families

from models.checkpoint import Checkpoint, save_checkpoint
from models.tokenizer import Tokenizer
from service.app import create_app
from service.engine.hosts.worker import stats_of
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.stats import EngineStats
from service.metrics import Metrics, ModelStats
from service.settings import Settings
from service.work_metrics import LATENCIES_S, Work
from tests.service.conftest import running
from tests.service.engine.driving import make_engine
from tests.service.engine.small_models import SHAPES, random_weights
from tests.service.plain_engine import PlainLSTM

DONE = Work(
    queued_s=0.02,
    first_s=0.1,
    total_s=0.5,
    prompt_tokens=10,
    new_tokens=5,
    finish_reasons=("stop", "length"),
)
# What vLLM's own Grafana board, KEDA's example and the Gateway API's inference extension ask for.
VLLMS = """
    vllm:e2e_request_latency_seconds_bucket vllm:e2e_request_latency_seconds_sum
    vllm:e2e_request_latency_seconds_count vllm:prompt_tokens_total vllm:generation_tokens_total
    vllm:inter_token_latency_seconds_bucket vllm:time_per_output_token_seconds_bucket
    vllm:num_requests_running vllm:num_requests_waiting vllm:time_to_first_token_seconds_bucket
    vllm:kv_cache_usage_perc vllm:request_prompt_tokens_bucket
    vllm:request_generation_tokens_bucket vllm:request_success_total
    vllm:request_queue_time_seconds_sum vllm:request_prefill_time_seconds_sum
    vllm:request_decode_time_seconds_sum vllm:prefix_cache_hits_total
    vllm:prefix_cache_queries_total
"""


def families(metrics: Metrics) -> dict[str, Metric]:
    return {f.name: f for f in text_string_to_metric_families(metrics.render().decode())}


def value(metrics: Metrics | dict[str, Metric], sample: str, **labels: str) -> float:
    """Of one sample, from a page that is made now or was parsed before."""
    parsed = metrics if isinstance(metrics, dict) else families(metrics)
    found = [
        one.value
        for family in parsed.values()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    return math.nan if len(found) != 1 else found[0]


def make_metrics() -> Metrics:
    engine = EngineStats(
        counters={"steps": 7, "cache_hits": 2, "cache_lookups": 3},
        gauges={"running": 4, "waiting": 5, "rows": 16},
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
    metrics.observe_work("tiny", DONE)
    metrics.observe_work("tiny", Work(total_s=0.2, status=400))
    assert value(metrics, "lstm_serve_tokens_total", kind="cached") == 3
    assert value(metrics, "vllm:prompt_tokens_total", model_name="tiny") == 10
    assert value(metrics, "vllm:generation_tokens_total", model_name="tiny") == 5
    for reason in ("stop", "length"):
        assert value(metrics, "vllm:request_success_total", finished_reason=reason) == 1
    assert value(metrics, "vllm:time_to_first_token_seconds_sum") == 0.1
    assert value(metrics, "vllm:time_per_output_token_seconds_sum") == 0.1
    assert value(metrics, "vllm:e2e_request_latency_seconds_count") == 2


def test_a_figure_is_told_under_both_names() -> None:
    metrics = make_metrics()
    metrics.observe_work("tiny", DONE)
    for ours, vllms, seconds in (
        ("queue_time_seconds", "request_queue_time_seconds", 0.02),
        ("time_to_first_token_seconds", "time_to_first_token_seconds", 0.1),
        ("time_per_output_token_seconds", "inter_token_latency_seconds", 0.1),
        ("prefill_time_seconds", "request_prefill_time_seconds", 0.08),
        ("decode_time_seconds", "request_decode_time_seconds", 0.4),
        ("request_new_tokens", "request_generation_tokens", 5),
    ):
        for name, label in ((f"lstm_serve_{ours}", "model"), (f"vllm:{vllms}", "model_name")):
            assert value(metrics, f"{name}_sum", **{label: "tiny"}) == pytest.approx(seconds)
            assert value(metrics, f"{name}_bucket", **{label: "tiny", "le": "+Inf"}) == 1
    assert value(metrics, "vllm:kv_cache_usage_perc", model_name="tiny") == 0.25


@given(st.lists(st.sampled_from([0, 0.001, 0.0011, 0.1, 119, 121, 1e9]) | st.floats(0, 200)))
def test_histograms_are_those_of_the_library(values: list[float]) -> None:
    ours, registry = make_metrics(), CollectorRegistry()
    theirs = Histogram("h", "the library's", buckets=LATENCIES_S, registry=registry)
    for value_s in values:
        ours.observe_work("tiny", Work(total_s=value_s))
        theirs.observe(value_s)
    page = families(ours)
    for sample in next(iter(theirs.collect())).samples:
        if sample.name.endswith(("_bucket", "_sum", "_count")) and values:
            name = "lstm_serve_work_duration_seconds" + sample.name.removeprefix("h")
            assert value(page, name, **sample.labels) == pytest.approx(sample.value)


def test_dashboards_and_autoscalers_made_for_vllm_find_what_they_ask_for() -> None:
    metrics = make_metrics()
    metrics.count_tokens("tiny", prompt=1, completion=1)
    metrics.observe_work("tiny", DONE)
    samples = {sample.name for family in families(metrics).values() for sample in family.samples}
    assert set(VLLMS.split()) <= samples


def test_every_figure_of_an_engine_has_a_text() -> None:
    config = SHAPES["tied"]
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=2)
    stats = stats_of(make_engine(runner))
    page = Metrics(lambda: {"tiny": ModelStats(engine=stats)}).render().decode()
    assert "lstm_serve_engine_step_rows_total" in page
    assert "The engine's" not in page


def test_every_family_has_a_text_of_its_own() -> None:
    texts = {name: family.documentation for name, family in families(make_metrics()).items()}
    assert all(len(text) > 10 for text in texts.values()), texts
    assert "process_resident_memory_bytes" in texts


async def test_a_request_is_told_by_its_model(client: httpx.AsyncClient) -> None:
    await client.post("/v1/completions", json={"prompt": "a", "max_tokens": 3, "ignore_eos": True})
    page = (await client.get("/metrics")).text
    assert 'vllm:generation_tokens_total{model_name="tiny"} 3.0' in page
    assert 'vllm:time_to_first_token_seconds_count{model_name="tiny"} 1.0' in page


async def test_the_time_in_the_queue_is_measured_where_the_engine_is(
    tmp_path: Path, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    weights = dict(lstm.weights)
    save_checkpoint(
        Checkpoint(model=lstm.config, weights=weights, tokenizer=tokenizer), tmp_path / "m"
    )
    settings = Settings(model=tmp_path / "m", models=tmp_path, engine="thread", device="cpu")
    async with running(create_app(settings)) as client:
        for _ in range(2):
            await client.post("/v1/score", json={"texts": ["the cat"]})
        page = (await client.get("/metrics")).text
    assert 'lstm_serve_queue_time_seconds_count{model="m"} 2.0' in page
    (waited,) = re.findall(r'vllm:request_queue_time_seconds_sum{model_name="m"} (\S+)', page)
    assert 0 <= float(waited) < 10
