"""Plots as PNG files; matplotlib's figures are used directly, without its global state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure of `rows` x `columns` plots, and its plots in reading order."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [axes for row in grid for axes in row]


def draw_curves(metrics: Path, png: Path) -> None:
    """The curves of a run, from its `metrics.jsonl`."""
    curves(metrics).savefig(png, dpi=100)


def curves(metrics: Path) -> Figure:
    """Loss and validation, learning rate, gradient norm with the clipped share, speed."""
    lines = metrics.read_text("utf-8").splitlines() if metrics.exists() else []
    records = [json.loads(line) for line in lines]
    steps = [record for record in records if "loss" in record]
    validations = [record for record in records if "valid_loss" in record]
    figure, (losses, rates, norms, speed) = new_figure(2, 2, (11, 7))
    _plot(losses, steps, "loss", "training")
    _plot(losses, validations, "valid_loss", "validation", marker=".")
    losses.set_ylabel("nats a token")
    if steps or validations:
        losses.legend()
    _plot(rates, steps, "lr", "learning rate")
    rates.set_ylabel("learning rate")
    _plot(norms, steps, "grad_norm", "before clipping")
    norms.set_ylabel("gradient norm")
    if steps:
        norms.set_yscale("log")
        shares = norms.twinx()
        _plot(shares, steps, "clipped", "clipped", color="tab:red", alpha=0.4)
        shares.set_ylim(0, 1.02)
        shares.set_ylabel("share of steps clipped", color="tab:red")
    _plot(speed, steps, "tokens_per_second", "speed")
    speed.set_ylabel("tokens a second so far")
    for axes in (losses, rates, norms, speed):
        axes.set_xlabel("training tokens")
        axes.grid(alpha=0.3)
    return figure


def _plot(axes: Axes, records: list[dict[str, Any]], key: str, label: str, **style: Any) -> None:
    axes.plot([r["tokens"] for r in records], [r[key] for r in records], label=label, **style)
