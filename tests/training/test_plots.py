"""Curves hold the numbers of the log, and a run that has none yet draws empty ones."""

import json
from pathlib import Path

import numpy as np

from training.plots import curves, draw_curves, new_figure

STEPS = [
    {"tokens": 10 * n, "loss": 5.0 - n, "lr": 0.1 * n, "grad_norm": n + 1.0, "clipped": 0.5,
     "tokens_per_second": 100.0}
    for n in range(4)
]  # fmt: skip
VALIDATIONS = [{"tokens": 25, "valid_loss": 3.0}]


def log(folder: Path, *records: dict[str, float]) -> Path:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_each_curve_has_the_numbers_of_the_log(tmp_path: Path) -> None:
    figure = curves(log(tmp_path, *STEPS, *VALIDATIONS))
    drawn = {
        line.get_label(): (
            np.asarray(line.get_xdata()).tolist(),
            np.asarray(line.get_ydata()).tolist(),
        )
        for axes in figure.axes
        for line in axes.get_lines()
    }
    tokens = [0, 10, 20, 30]
    assert drawn["training"] == (tokens, [5.0, 4.0, 3.0, 2.0])
    assert drawn["validation"] == ([25], [3.0])
    assert drawn["before clipping"] == (tokens, [1.0, 2.0, 3.0, 4.0])
    assert drawn["clipped"] == (tokens, [0.5] * 4)
    assert set(drawn) >= {"learning rate", "speed"}


def test_a_run_without_a_log_has_empty_curves(tmp_path: Path) -> None:
    for metrics in (tmp_path / "none.jsonl", log(tmp_path)):
        draw_curves(metrics, tmp_path / "curves.png")
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_plots_come_in_reading_order() -> None:
    figure, axes = new_figure(2, 3, (4, 3))
    figure.draw_without_rendering()
    places = [own.get_position() for own in axes]
    assert len(axes) == 6
    assert [place.y0 for place in places[:3]] == [places[0].y0] * 3
    assert places[0].y0 > places[3].y0
    assert places[0].x0 < places[1].x0 < places[2].x0
