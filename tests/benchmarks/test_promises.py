"""What is measured beside speed, on a real service of a small model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load import Client, load_process
from benchmarks.promises import Plan, measure_cancellation, measure_fairness
from benchmarks.service_process import running_service
from tests.reliability.target import save_small_model


def test_promises_are_measured_on_a_real_service(tmp_path: Path) -> None:
    plan = Plan(streams=2, stream_tokens=8, texts=8, text_words=2000, dropped=4, rounds=2)
    model = save_small_model(tmp_path / "small")
    with running_service(model) as service, load_process() as executor:
        fairness = measure_fairness(service.port, Client(executor, service.port), plan)
        cancellation = measure_cancellation(service.port, plan)
    assert 1 <= fairness["streams_beside_scoring"] <= 2
    assert fairness["stream_beside_scoring"] > 0
    assert fairness["first_token_beside_scoring_ms"]["p50"] > 0
    free = cancellation["rows_free_after_ms"]
    assert 0 < free["p50"] <= free["max"]
