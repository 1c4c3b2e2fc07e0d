"""The sizing table is measured on real services of a small model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sizing import QUICK, Plan, measure, shapes
from tests.reliability.target import save_small_model


def test_more_replicas_or_more_threads_but_not_both() -> None:
    assert list(shapes(Plan(replicas=(1, 4), threads=(1, 2)))) == [(1, 1), (4, 1), (1, 2)]


def test_a_row_is_measured(tmp_path: Path) -> None:
    row = measure(save_small_model(tmp_path / "small"), 1, 1, QUICK)
    assert (row["model"], row["replicas"], row["threads"]) == ("small", 1, 1)
    assert row["memory_mb"] > 20
    assert row["streams_tokens_per_s"] > 0
    assert row["scored_tokens_per_s"] > 0
