"""The table of goals and figures in docs/performance.md, written from benchmarks/results/.

    python -m benchmarks.report

Only what lies between the two marker lines is replaced; what limits a figure is said by hand below.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import PROJECT, RESULTS, replace_between

BEGIN, END = "<!-- written by `python -m benchmarks.report` -->", "<!-- until here -->"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """key: of the benchmark's figures. at_least: whether larger is better."""

    what: str
    benchmark: str
    key: str
    bound: float
    at_least: bool = True

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


GOALS = (
    Goal(
        what="one step for one sequence, against `nn.LSTM`",
        benchmark="engine",
        key="step_b1_vs_nn_lstm",
        bound=45,
    ),
    Goal(
        what="one step for 64 sequences, against `nn.LSTM`",
        benchmark="engine",
        key="step_b64_vs_nn_lstm",
        bound=6,
    ),
    Goal(
        what="how much of that step its matrix products need",
        benchmark="engine",
        key="int8_gemm_fraction_b64",
        bound=0.75,
    ),
    Goal(
        what="sampling with every common setting, over the step",
        benchmark="engine",
        key="sampling_share_b64",
        bound=0.3,
        at_least=False,
    ),
    Goal(
        what="scoring 64 texts of 32 tokens, against `nn.LSTM`",
        benchmark="scoring",
        key="score_64x32_vs_nn_lstm",
        bound=4,
    ),
    Goal(
        what="100-best lists, against padded batches",
        benchmark="rescoring",
        key="nbest_vs_padded_nn_lstm",
        bound=10,
    ),
    Goal(
        what="64 streams over HTTP, over the engine alone",
        benchmark="http",
        key="sse64_vs_engine",
        bound=0.6,
    ),
    Goal(
        what="a chat's turn 100, over its turn 2",
        benchmark="http",
        key="chat_turn100_vs_turn2",
        bound=1.2,
        at_least=False,
    ),
    Goal(
        what="seconds from the command to ready",
        benchmark="startup",
        key="seconds_to_ready",
        bound=1.5,
        at_least=False,
    ),
    Goal(
        what="memory of all processes when ready, MiB",
        benchmark="startup",
        key="rss_mb",
        bound=350,
        at_least=False,
    ),
    Goal(
        what="training, against the loop of pytorch/examples",
        benchmark="training",
        key="train_vs_reference",
        bound=1.5,
    ),
)


def read_result(name: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return result


def goals_table(read: Callable[[str], dict[str, Any]]) -> str:
    """A row for each goal: what, key, goal, figure, whether it is met, and when it was measured."""
    rows = ["| what | key | goal | measured | | on |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        result = read(goal.benchmark)
        value = result[goal.key]
        bound = f"at {'least' if goal.at_least else 'most'} {goal.bound:g}"
        met = "met" if goal.is_met(value) else "**missed**"
        cells = (goal.what, f"`{goal.key}`", bound, f"{value:.4g}", met, result["date"][:10])
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> int:
    path = Path(PROJECT / "docs" / "performance.md")
    text = replace_between(path.read_text("utf-8"), goals_table(read_result), BEGIN, END)
    path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
