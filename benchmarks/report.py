"""The tables of goals and of the profile in docs/performance.md, from benchmarks/results/.

    python -m benchmarks.report

Only what lies between marker lines is replaced; what limits a figure is said by hand below.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import PROJECT, RESULTS, Json, replace_between

BEGIN, END = "<!-- goals, written by `python -m benchmarks.report` -->", "<!-- until here -->"
PROFILE_BEGIN = "<!-- profile, written by `python -m benchmarks.report` -->"


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
        what="one stream, the service on one core, against llama-server",
        benchmark="peers",
        key="one_stream_vs_llama_server",
        bound=2,
    ),
    Goal(
        what="64 streams, the same",
        benchmark="peers",
        key="streams64_vs_llama_server",
        bound=12,
    ),
    Goal(
        what="first token of 64 streams, the same",
        benchmark="peers",
        key="ttft64_vs_llama_server",
        bound=1,
    ),
    Goal(
        what="a chat's turn 50, the same",
        benchmark="peers",
        key="chat_turn50_vs_llama_server",
        bound=5,
    ),
    Goal(
        what="one prompt of 4,096 tokens, the same",
        benchmark="peers",
        key="prompt4096_vs_llama_server",
        bound=3,
    ),
    Goal(
        what="that prompt, 25 million parameters each",
        benchmark="peers",
        key="prompt4096_25m_vs_llama_server",
        bound=1,
    ),
    Goal(
        what="the engine's rate over its step's, one sequence",
        benchmark="engine",
        key="engine_b1_vs_step",
        bound=0.8,
    ),
    Goal(
        what="the engine's rate over its step's, 64 sequences",
        benchmark="engine",
        key="engine_b64_vs_step",
        bound=0.8,
    ),
    Goal(
        what="one stream, the service on one core over the engine on it",
        benchmark="http",
        key="one_core_sse1_vs_engine",
        bound=0.7,
    ),
    Goal(
        what="64 streams, the same",
        benchmark="http",
        key="one_core_sse64_vs_engine",
        bound=0.6,
    ),
    Goal(
        what="how much of a step of 64 its matrix products need",
        benchmark="engine",
        key="int8_gemm_fraction_b64",
        bound=0.75,
    ),
    Goal(
        what="how much of a step of one reading its weights needs",
        benchmark="engine",
        key="step_b1_vs_bandwidth",
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
        what="the same with a repetition penalty",
        benchmark="engine",
        key="sampling_share_b64_repetition",
        bound=0.5,
        at_least=False,
    ),
    Goal(
        what="what masks of a grammar add to a draw of 64, over the step",
        benchmark="engine",
        key="guided_mask_share_b64",
        bound=0.2,
        at_least=False,
    ),
    Goal(
        what="scoring 64 texts of 32 tokens, against `nn.LSTM`",
        benchmark="scoring",
        key="score_64x32_vs_nn_lstm",
        bound=4.5,
    ),
    Goal(
        what="100-best lists, against padded batches",
        benchmark="rescoring",
        key="nbest_vs_padded_nn_lstm",
        bound=10,
    ),
    Goal(
        what="`lstm-serve rescore` of whole files, against the engine alone",
        benchmark="bulk",
        key="rescore_vs_engine",
        bound=0.9,
    ),
    Goal(
        what="seconds of one core for a minute of speech, 100 hypotheses an utterance",
        benchmark="bulk",
        key="rescore_s_per_audio_minute",
        bound=0.3,
        at_least=False,
    ),
    Goal(
        what="a generated token after 1,000,000 tokens of history, over the cheapest",
        benchmark="growth",
        key="history_answer_growth",
        bound=1.1,
        at_least=False,
    ),
    Goal(
        what="seconds from the command to ready",
        benchmark="startup",
        key="seconds_to_ready",
        bound=0.8,
        at_least=False,
    ),
    Goal(
        what="memory of all processes when ready, MiB",
        benchmark="startup",
        key="rss_mb",
        bound=250,
        at_least=False,
    ),
    Goal(
        what="throughput at five times the load that it can carry, over its capacity",
        benchmark="overload",
        key="throughput_at_5x",
        bound=0.9,
    ),
    Goal(
        what="the slowest liveness probe meanwhile, ms",
        benchmark="overload",
        key="liveness_at_5x_ms",
        bound=100,
        at_least=False,
    ),
    Goal(
        what="a short request beside work that is much, over the same alone",
        benchmark="overload",
        key="short_beside_expensive",
        bound=3,
        at_least=False,
    ),
    Goal(
        what="seconds from the death of an engine to ready",
        benchmark="overload",
        key="engine_back_s",
        bound=2,
        at_least=False,
    ),
    Goal(
        what="training, against the loop of pytorch/examples",
        benchmark="training",
        key="train_vs_reference",
        bound=3.8,
    ),
)

NOT_MEASURED = "not measured"


def read_result(name: str) -> Json:
    """What was kept of a benchmark; nothing where none was."""
    path = RESULTS / f"{name}.json"
    result: Json = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return result


def goals_table(read: Callable[[str], Json]) -> str:
    """A row for each goal: what, key, goal, figure, whether it is met, and when it was measured."""
    rows = ["| what | key | goal | measured | | on |", "|---|---|---|---|---|---|"]
    for goal in GOALS:
        result = read(goal.benchmark)
        value = result.get(goal.key)
        bound = f"at {'least' if goal.at_least else 'most'} {goal.bound:g}"
        found = (NOT_MEASURED, "", "")
        if value is not None:
            met = "met" if goal.is_met(value) else "**missed**"
            found = (f"{value:.4g}", met, result["date"][:10])
        cells = (goal.what, f"`{goal.key}`", bound, *found)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def profile_table(before: Json, after: Json) -> str:
    """Microseconds a token by place, one stream and 64 streams, before and after."""
    columns = [
        (f"{load}, {name}", result[f"{key}_us_per_token"])
        for key, load in (("one_stream", "one stream"), ("streams64", "64 streams"))
        for name, result in (("before", before), ("now", after))
        if result
    ]
    if not columns:
        return NOT_MEASURED
    rows = [
        f"| µs a token | {' | '.join(head for head, _ in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for place in columns[0][1]:
        cells = [f"{own[place]:.0f} ({own[place] / own['all']:.0%})" for _, own in columns]
        rows.append(f"| {place} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main() -> int:
    path = Path(PROJECT / "docs" / "performance.md")
    text = replace_between(path.read_text("utf-8"), goals_table(read_result), BEGIN, END)
    profile = profile_table(read_result("profile_before"), read_result("profile"))
    text = replace_between(text, profile, PROFILE_BEGIN, END)
    path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
