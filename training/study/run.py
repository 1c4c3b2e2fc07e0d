"""All experiments in turn, and the page."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from training.study import experiments, page
from training.study.material import Material


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much of each experiment: the full study, or a glance that shows that it runs."""

    compare_tokens: int = 1_000_000
    truncation_tokens: int = 500_000
    truncation_lengths: tuple[int, ...] = (2, 8, 32, 128)
    explosion_steps: int = 100


def run_study(out: Path, text: Path | None, budget: Budget) -> list[page.Finding]:
    """Writes README.md, study.json and plots into `out`; returns the findings."""
    began, used = time.monotonic(), time.process_time()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    with tempfile.TemporaryDirectory() as folder:
        material = Material.prepare(Path(folder), text, vocab_size=1000)
        findings = _findings(material, out, budget)
    torch.set_flush_denormal(False)
    seconds, processor_seconds = time.monotonic() - began, time.process_time() - used
    page.write_page(out, material.name, seconds, processor_seconds, findings)
    return findings


def _findings(material: Material, out: Path, budget: Budget) -> list[page.Finding]:
    steps = 256
    explosions = {
        name: experiments.exploding_run(material, clip, budget.explosion_steps)
        for name, clip in (("without clipping", 1e30), ("clipped at 0.5", 0.5))
    }
    compared = experiments.compare(material, budget.compare_tokens)
    reaches = experiments.reaches(material, {name: r.model for name, r in compared.items()})
    lengths = tuple(2**k for k in range(9))
    agreement = experiments.gradient_agreement(material, compared["LSTM"].model, lengths, steps)
    truncated = experiments.truncations(
        material, budget.truncation_lengths, budget.truncation_tokens
    )
    return [
        page.parameters_finding(experiments.first_layer_parameters()),
        page.reach_finding(reaches, out),
        page.explosion_finding(explosions, out),
        page.comparison_finding(compared, budget.compare_tokens),
        page.truncation_finding(truncated, agreement, steps, out),
    ]
