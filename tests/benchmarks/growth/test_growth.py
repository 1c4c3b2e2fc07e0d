"""The curves, on the real service, a few points each; and the page that is made of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth.__main__ import Curves, columns, measure_part, summary
from benchmarks.growth.curves import Point, Subject
from benchmarks.growth.page import BEGIN, CHARTS, END, PAGE, write_page
from benchmarks.growth.scales import Scales
from benchmarks.harness import SHIPPED
from benchmarks.load import load_process
from benchmarks.service_process import running_service
from models.checkpoint import load_checkpoint

SCALES = Scales(
    rounds=1,
    streams=(1, 2),
    stream_tokens=32,
    history_tokens=(50, 100),
    answer_tokens=4,
    text_bytes=(100, 200),
    list_sizes=(5, 10),
    conversations=(2, 4),
    turn_tokens=2,
    returning=2,
)


def test_every_curve_has_its_points() -> None:
    curves: Curves = {}
    tokenizer = load_checkpoint(SHIPPED).tokenizer
    with running_service(SHIPPED) as service, load_process() as executor:
        subject = Subject.of(service, executor, tokenizer)
        for part in ("streams", "history", "texts", "lists", "conversations"):
            curves |= measure_part(part, subject, SCALES)
    assert {name: [point.x for point in points] for name, points in curves.items()} == {
        "streams": [1, 2],
        "history_read": [50, 100],
        "history_answer": [50, 100],
        "texts": [100, 200],
        "lists": [5, 10],
        "conversations_open": [2, 4],
        "conversations_return": [2, 4],
    }
    for points in curves.values():
        assert all(point.cpu_us > 0 and 50 < point.memory_mib < 2000 for point in points)
    assert set(summary(curves)) >= {"streams_growth", "history_answer_growth"}


def _curve(*costs: float) -> list[Point]:
    return [
        Point(x=10**k, cpu_us=cost, clock_us=2 * cost, memory_mib=100 + k)
        for k, cost in enumerate(costs)
    ]


def test_growth_is_over_the_cheapest_point() -> None:
    figures = summary({"streams": _curve(9, 3, 6), "texts": _curve(9, 3, 3)})
    assert figures == {"streams_growth": 2, "texts_growth": 1}


def test_conversations_and_replicas_have_figures() -> None:
    figures = summary({"conversations_return": _curve(2, 4, 3), "replicas": _curve(8, 5)})
    assert figures == {
        "conversations_memory_mib": 102,
        "conversations_added_mib": 2,
        "conversations_return_growth": 1.5,
        "replicas_speedup": 1.6,
    }


@pytest.fixture(name="result")
def _result() -> dict[str, Any]:
    names = {name for chart in CHARTS for name in chart.curves}
    return {
        "date": "2026-11-25T00:00:00+00:00",
        "machine": {"cpu": "Abacus", "cores": 2, "load_average": 0.1},
        "curves": {name: columns(_curve(3, 2, 4)) for name in names},
    }


def test_the_page_has_every_plot_and_table(result: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "growth.md"
    page.write_text(f"Before.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n", "utf-8")
    write_page(result, page)
    text = page.read_text("utf-8")
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    assert "old" not in text
    assert "2 cores of Abacus" in text
    pictures = re.findall(r"\((growth/\w+\.png)\)", text)
    assert len(pictures) == len(CHARTS)
    assert all((tmp_path / picture).stat().st_size > 1000 for picture in pictures)
    assert text.count("\n| 100 | 4 (8) |") >= 4


def test_the_real_page_has_the_markers() -> None:
    text = PAGE.read_text("utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
