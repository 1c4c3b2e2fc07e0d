"""The study's page: plots, tables, what was expected and what was seen."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.diagnostics import draw_reach, memory_span
from training.plots import new_figure
from training.study.experiments import Explosion, Trained


@dataclass(frozen=True)
class Finding:
    """One experiment on the page. `holds`: whether what was seen is what was expected."""

    title: str
    expected: str
    seen: str
    holds: bool
    table: Sequence[Sequence[str]]
    plot: str = ""

    def to_markdown(self) -> str:
        head, *rows = self.table
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
        parts = [
            f"## {self.title}",
            f"**Expected.** {self.expected}",
            f"**Seen.** {self.seen}",
            f"**Verdict.** {'As expected.' if self.holds else 'Not as expected.'}",
            "\n".join(lines),
        ]
        if self.plot:
            parts.append(f"![{self.title}]({self.plot})")
        return "\n\n".join(parts)


def parameters_finding(counts: Mapping[str, int]) -> Finding:
    """counts: parameters of a first hidden layer, by kind of network."""
    window, shared = counts["window MLP"], counts["RNN"]
    return Finding(
        title="Weights shared over time",
        expected=(
            "A network over a window of 100 embeddings of 100 has a weight for every position: "
            "100 x 100 x 100 + 100 = 1,000,100 in a first hidden layer of 100. A recurrent one "
            "uses the same weights at every step: 100 x 100 + 100 x 100 + 100 = 20,100."
        ),
        seen=f"{window:,} against {shared:,}, a factor of {window / shared:.1f}.",
        holds=(window, shared) == (1_000_100, 20_100),
        table=[["first hidden layer", "parameters"]]
        + [[name, f"{count:,}"] for name, count in counts.items()],
    )


def reach_finding(reaches: Mapping[str, Sequence[float]], folder: Path) -> Finding:
    """reaches: by network, the gradient's norm so many steps back. Draws into `folder`."""
    draw_reach(reaches, folder / "gradient-reach.png")
    span = {name: memory_span(reach) for name, reach in reaches.items()}
    plain, orthogonal, skip = (
        span[name] for name in ("tanh RNN", "RNN, orthogonal start", "RNN, skips through time")
    )
    steps_back = reaches["RNN, skips through time"]
    longer = min(orthogonal, skip, span["LSTM"]) > plain
    trained = span["LSTM, trained"] > span["RNN, trained"]
    rows = [
        [name, str(span[name]), *(f"{reach[k - 1] / reach[0]:.1e}" for k in (10, 50, len(reach)))]
        for name, reach in reaches.items()
    ]
    return Finding(
        title="How far back a gradient reaches",
        expected=(
            "Through a tanh RNN as libraries start it, the gradient of a loss vanishes within a "
            "few steps. An orthogonal recurrent matrix, skips through time and the LSTM's cell "
            "each carry it further; a trained LSTM keeps more of it than a trained RNN."
        ),
        seen=(
            f"Above 1% of its first norm for {plain} steps in the tanh RNN, {orthogonal} with an "
            f"orthogonal start, {skip} with skips, {span['LSTM']} in the LSTM; after training "
            f"{span['RNN, trained']} in the RNN and {span['LSTM, trained']} in the LSTM. Skips "
            f"end, {len(steps_back)} steps back, at {steps_back[-1] / steps_back[0]:.2g} times "
            "the first norm: nothing bounds them."
        ),
        holds=longer and trained,
        table=[["network", "above 1% up to", "10 steps", "50 steps", "the end"], *rows],
        plot="gradient-reach.png",
    )


def explosion_finding(runs: Mapping[str, Explosion], folder: Path) -> Finding:
    """runs: losses and gradient norms, by network. Draws into `folder`."""
    figure, (losses, norms) = new_figure(1, 2, (11, 4))
    for name, run in runs.items():
        losses.plot(run.losses, label=name)
        norms.plot(run.norms, label=name)
    losses.set_ylabel("nats a token")
    norms.set_ylabel("gradient norm before clipping")
    norms.set_yscale("log")
    for axes in (losses, norms):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / "exploding-gradients.png", dpi=100)
    end = {name: float(np.mean(run.losses[-10:])) for name, run in runs.items()}
    free, clipped = end["without clipping"], end["clipped at 0.5"]
    first = runs["clipped at 0.5"].losses[0]
    return Finding(
        title="An exploding gradient, with and without clipping",
        expected=(
            "An RNN whose recurrent matrix stretches every direction by two meets gradients of "
            "enormous norm; one step along such a gradient throws the weights away. With its norm "
            "clipped, the same run learns."
        ),
        seen=(
            f"Largest norm {max(runs['without clipping'].norms):.2g} without clipping, "
            f"{max(runs['clipped at 0.5'].norms):.2g} with it. From {first:.2f} nats a token at "
            f"the start, the last ten steps average {free:.2f} without and {clipped:.2f} with. "
            "(A token's loss is bounded by the smallest probability that float32 holds: 87.3 nats.)"
        ),
        holds=clipped < first < free,
        table=[["run", "steps", "largest norm", "loss at the end"]]
        + [
            [name, str(len(run.losses)), f"{max(run.norms):.3g}", f"{end[name]:.2f}"]
            for name, run in runs.items()
        ],
        plot="exploding-gradients.png",
    )


def comparison_finding(results: Mapping[str, Trained], tokens: int) -> Finding:
    """results: by network, trained on the same `tokens`."""
    window, elman, lstm = (
        results[name].perplexity for name in ("window MLP (8 tokens)", "Elman RNN", "LSTM")
    )
    return Finding(
        title="Window MLP, Elman RNN and LSTM on the same text and budget",
        expected=(
            "With as many training tokens, the LSTM predicts best: it has no window's edge, and "
            "keeps what an RNN forgets."
        ),
        seen=(
            f"Perplexity {window:.1f}, {elman:.1f} and {lstm:.1f} after {tokens:,} tokens, "
            "with one seed each."
        ),
        holds=lstm < min(window, elman),
        table=[["network", "parameters", "perplexity a token", "training, s"]]
        + [
            [name, f"{r.parameters:,}", f"{r.perplexity:.1f}", f"{r.seconds:.0f}"]
            for name, r in results.items()
        ],
    )


def truncation_finding(
    results: Mapping[int, Trained], agreement: Mapping[int, float], steps: int, folder: Path
) -> Finding:
    """results, agreement: by steps that gradients reach back, the trained network, and the cosine
    of its gradient with that through all `steps`. Draws into `folder`.
    """
    figure, (left, right) = new_figure(1, 2, (11, 4))
    left.plot(list(results), [r.perplexity for r in results.values()], marker="o")
    left.set_ylabel("perplexity a token")
    right.plot(list(agreement), list(agreement.values()), marker="o")
    right.set_ylabel(f"cosine with the gradient through all {steps} steps")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("steps of back-propagation")
        axes.grid(alpha=0.3)
    figure.savefig(folder / "truncated-bptt.png", dpi=100)
    shortest, longest = min(results), max(results)
    near = {k: value for k, value in agreement.items() if k <= steps // 4}
    k = max(near)
    gain = 1 - results[longest].perplexity / results[shortest].perplexity
    return Finding(
        title="Truncated against full back-propagation through time",
        expected=(
            "Cutting the gradient every k steps, the state carried on, costs little once k covers "
            "what the network makes use of: the truncated gradient then points where the full one "
            "points. A network whose gradient is cut after very few steps learns less."
        ),
        seen=(
            f"The cosine with the full gradient is {agreement[min(agreement)]:.2f} for "
            f"{min(agreement)} step and {agreement[k]:.3f} for {k}. Trained on the same windows of "
            f"{longest} steps in the same order, a network whose gradient is cut every {shortest} "
            f"steps reaches perplexity {results[shortest].perplexity:.1f}, one whose gradient goes "
            f"through the whole window {results[longest].perplexity:.1f}: {gain:.1%} less, on "
            "one seed."
        ),
        holds=agreement[k] > 0.95 and gain > 0.01,
        table=[["steps of back-propagation", "perplexity a token"]]
        + [[str(k), f"{r.perplexity:.1f}"] for k, r in results.items()],
        plot="truncated-bptt.png",
    )


def write_page(
    folder: Path, text: str, seconds: float, processor_seconds: float, findings: Sequence[Finding]
) -> None:
    """README.md with the findings, and the same as `study.json`."""
    held = sum(finding.holds for finding in findings)
    head = (
        "# A study of recurrent language models\n\n"
        "```\npython -m training study --out DIR\n```\n\n"
        "runs the textbook experiments on this package's own networks, trainer and measures, and "
        f"writes this page. Text: {text}; of every 500 lines, the last 50 are held out and all "
        f"perplexities are measured on them. {held} of {len(findings)} experiments came out as "
        f"expected. All together took {seconds / 60:.1f} minutes, {processor_seconds / 60:.1f} of "
        "them on a processor."
    )
    parts = [head, *(finding.to_markdown() for finding in findings)]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    record = {
        finding.title: {"holds": finding.holds, "table": finding.table} for finding in findings
    }
    (folder / "study.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
