"""Overload is measured on a real service of a small model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load import Client, load_process
from benchmarks.overload import Plan, measure_overload, measure_restart
from benchmarks.service_process import running_service
from tests.reliability.target import save_small_model

PLAN = Plan(lanes=2, seconds=0.6, words=20, probes=2, streams=2)


def test_overload_and_restart_are_measured(tmp_path: Path) -> None:
    model = save_small_model(tmp_path / "small")
    with running_service(model) as service, load_process() as load, load_process() as probes:
        client, prober = (Client(executor, service.port) for executor in (load, probes))
        figures = measure_overload(service, client, prober, PLAN)
        restart = measure_restart(service, PLAN)["restart"]
    overload = figures["overload"]
    assert figures["capacity_per_s"] > 0
    assert sum(overload["statuses"].values()) == overload["sent"]
    assert set(overload["statuses"]) <= {"200", "429"}
    assert overload["throughput"] > 0
    assert overload["liveness_ms"]["max"] >= overload["liveness_ms"]["p50"] > 0
    assert 0 < restart["told_s"] <= restart["back_s"]
