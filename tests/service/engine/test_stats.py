"""Figures of several engines are those of one."""

from __future__ import annotations

from service.engine.stats import EngineStats


def test_sums_by_name_whoever_has_it() -> None:
    one = EngineStats({"steps": 3, "tokens": 10}, {"running": 2})
    other = EngineStats({"steps": 4}, {"running": 1, "waiting": 5})
    both = one + other
    assert both == EngineStats({"steps": 7, "tokens": 10}, {"running": 3, "waiting": 5})
    assert both == other + one
    assert (one.counters, other.gauges) == (
        {"steps": 3, "tokens": 10},
        {"running": 1, "waiting": 5},
    )


def test_an_engine_that_tells_nothing_adds_nothing() -> None:
    one = EngineStats({"steps": 3}, {"running": 2})
    assert one + EngineStats() == one
