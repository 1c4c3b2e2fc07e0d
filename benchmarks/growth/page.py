"""docs/growth.md: a plot and a table for each curve, written from benchmarks/results/growth.json.

Only what lies between the two marker lines is replaced; what the curves mean is said by hand above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.harness import PROJECT, Json, replace_between

BEGIN, END = "<!-- written by `python -m benchmarks.growth --save` -->", "<!-- until here -->"
PAGE = PROJECT / "docs" / "growth.md"
PLOTS = "growth"  # folder beside the page

Curve = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Chart:
    """One plot over `across`; cost is of `unit`. curves: by name, with what the legend says."""

    name: str
    title: str
    across: str
    unit: str
    curves: Mapping[str, str]

    @classmethod
    def single(cls, name: str, title: str, across: str, unit: str) -> Chart:
        """Of one curve that is named as the plot is."""
        return cls(name, title, across, unit, {name: unit})


_HISTORY = {"history_read": "token read", "history_answer": "token generated after it"}
_TURNS = {"conversations_open": "opening turn", "conversations_return": "a further turn"}
CHARTS = (
    Chart.single("streams", "Streams at once", "streams", "generated token"),
    Chart(
        "history",
        "Length of a conversation behind a state token",
        "tokens of history",
        "token",
        _HISTORY,
    ),
    Chart.single("texts", "Length of one text to score", "bytes", "byte"),
    Chart.single("lists", "Length of one N-best list", "hypotheses", "hypothesis"),
    Chart(
        "conversations",
        "Conversations kept open by state tokens",
        "conversations",
        "turn",
        _TURNS,
    ),
    Chart.single("replicas", "Replicas, all cores", "replicas", "generated token"),
)


def write_page(result: Json, page: Path = PAGE) -> None:
    """Draw every chart beside `page`, and replace what stands between its markers."""
    curves = result["curves"]
    folder = page.parent / PLOTS
    folder.mkdir(exist_ok=True)
    sections = [_origin(result)]
    for chart in CHARTS:
        draw(chart, curves).savefig(folder / f"{chart.name}.png", dpi=80, metadata={"Software": ""})
        picture = f"![{chart.title}: cost and memory]({PLOTS}/{chart.name}.png)"
        sections += [f"## {chart.title}", picture, table(chart, curves)]
    text = replace_between(page.read_text("utf-8"), "\n\n".join(sections), BEGIN, END)
    page.write_text(text, "utf-8")


def _origin(result: Json) -> str:
    machine = result["machine"]
    return (
        f"Measured on {result['date'][:10]} on {machine['cores']} cores of {machine['cpu']}, "
        f"load average {machine['load_average']:g} at the start."
    )


def draw(chart: Chart, curves: Mapping[str, Curve]) -> Figure:
    """Cost on the left, memory on the right, over a logarithmic axis."""
    with mpl.rc_context({"axes.grid": True, "grid.alpha": 0.3, "font.size": 9}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        cost, memory = figure.subplots(1, 2)
        for name, label in chart.curves.items():
            curve = curves[name]
            (line,) = cost.plot(curve["x"], curve["cpu_us"], "o-", label=f"{label}, computing")
            colour = line.get_color()
            cost.plot(curve["x"], curve["clock_us"], "x:", color=colour, label=f"{label}, clock")
            memory.plot(curve["x"], curve["memory_mib"], "o-", color=colour, label=label)
        for axes in (cost, memory):
            axes.set_xlabel(chart.across)
            axes.set_xscale("log")
            axes.set_ylim(bottom=0)
        cost.set_ylabel(f"µs per {chart.unit}")
        memory.set_ylabel("memory, MiB (PSS)")
        cost.legend()
    return figure


def table(chart: Chart, curves: Mapping[str, Curve]) -> str:
    """A row for each point: costs in microseconds of computing, in brackets by the clock."""
    heads = [f"µs per {label}" for label in chart.curves.values()]
    rows = [
        f"| {' | '.join([chart.across, *heads, 'memory, MiB'])} |",
        f"|{'---:|' * (len(heads) + 2)}",
    ]
    last = [*chart.curves][-1]
    for k, x in enumerate(curves[last]["x"]):
        costs = [
            f"{curves[name]['cpu_us'][k]:.4g} ({curves[name]['clock_us'][k]:.4g})"
            for name in chart.curves
        ]
        memory = f"{curves[last]['memory_mib'][k]:.0f}"
        rows.append(f"| {' | '.join([f'{x:,}', *costs, memory])} |")
    return "\n".join(rows)
