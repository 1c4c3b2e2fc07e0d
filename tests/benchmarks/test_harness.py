"""Timing in turn, percentiles, and the line that a benchmark ends in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import harness
from benchmarks.harness import (
    Benchmark,
    Timing,
    alternate,
    machine,
    new_parser,
    parse,
    percentile,
    replace_between,
    rounded,
    versions,
)

FINITE = st.floats(-1e6, 1e6)


@given(st.lists(FINITE, min_size=1, max_size=50), st.floats(0, 100))
def test_percentile_is_numpys(values: list[float], percent: float) -> None:
    assert math.isclose(
        percentile(values, percent), float(np.percentile(values, percent)), abs_tol=1e-6
    )


def test_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_tasks_take_turns() -> None:
    called: list[str] = []

    def task(name: str) -> Callable[[], object]:
        return lambda: called.append(name)

    timings = alternate({"a": task("a"), "b": task("b")}, rounds=3, sample_seconds=0)
    assert called == ["a", "b"] * 4  # a warm-up and three rounds
    assert list(timings) == ["a", "b"]
    assert all(0 <= t.lower <= t.median <= t.upper for t in timings.values())


def test_short_tasks_are_called_often_enough() -> None:
    calls = 0

    def task() -> None:
        nonlocal calls
        calls += 1

    timing = alternate({"task": task}, rounds=1, sample_seconds=0.01)["task"]
    assert calls > 100
    assert timing.median < 0.001


def test_four_digits_are_kept() -> None:
    assert rounded({"a": 1.23456, "b": [123456.0, 7], "c": "1.23456"}) == {
        "a": 1.235,
        "b": [123500.0, 7],
        "c": "1.23456",
    }


def test_the_last_line_is_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    options = parse(new_parser("benchmarks.some", "what it does"), ["--save"])
    timings = {"one": Timing.of([1.0, 2.0, 4.0])}
    Benchmark("some", options).publish({"ratio": 2.0}, config={"threads": 1}, timings=timings)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["benchmark"] == "some"
    assert result["ratio"] == 2.0
    assert result["seconds"] == {"one": {"median": 2.0, "lower": 1.5, "upper": 3.0}}
    assert result["config"] == {"quick": False, "threads": 1}
    assert {"cpu", "cores", "flags"} <= set(result["machine"])
    assert {"python", "torch", "onnxruntime", "numpy"} <= set(result["versions"])
    assert result["date"]
    assert json.loads((tmp_path / "results" / "some.json").read_text("utf-8")) == result


def test_quick_figures_are_not_kept() -> None:
    with pytest.raises(SystemExit):
        parse(new_parser("benchmarks.some", None), ["--quick", "--save"])


def test_facts_are_of_this_machine() -> None:
    assert machine()["cores"] >= 1
    assert versions()["numpy"] == np.__version__


def test_only_what_lies_between_the_markers_is_replaced() -> None:
    document = "# Model\n\n<!-- a -->\nold\n<!-- b -->\n\n## Weaknesses\n"
    once = replace_between(document, "new", "<!-- a -->", "<!-- b -->")
    assert once == "# Model\n\n<!-- a -->\n\nnew\n\n<!-- b -->\n\n## Weaknesses\n"
    assert replace_between(once, "new", "<!-- a -->", "<!-- b -->") == once


@pytest.mark.parametrize("document", ["# Model", "# Model\n<!-- a -->", "<!-- b --> <!-- a -->"])
def test_a_document_without_the_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        replace_between(document, "new", "<!-- a -->", "<!-- b -->")
