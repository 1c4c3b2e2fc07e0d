"""The page: a table and two pictures of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.asr.hypotheses import NBestList
from service.asr.tuning_report import Bootstrap, Gain, Row
from service.asr.word_errors import count_errors


def compare(
    lists: Sequence[NBestList], texts: Mapping[str, Sequence[str]], first: str
) -> tuple[list[Row], dict[str, Gain]]:
    """Error rates with intervals, and what each gains over the system called `first`."""
    references = [own.reference or "" for own in lists]
    words = np.array([len(own.split()) for own in references])
    bootstrap = Bootstrap(words, np.arange(len(lists)))
    errors = {
        name: np.concatenate(
            [count_errors(said, [heard]) for said, heard in zip(references, own, strict=True)]
        )
        for name, own in texts.items()
    }
    rows = [bootstrap.row(name, own) for name, own in errors.items()]
    return rows, {name: bootstrap.gain(own, errors[first]) for name, own in errors.items()}


def oracle_texts(lists: Sequence[NBestList]) -> list[str]:
    """Of each list the hypothesis with the fewest errors."""
    found = []
    for own in lists:
        texts = [hypothesis.text for hypothesis in own.hypotheses] or [""]
        found.append(texts[int(count_errors(own.reference or "", texts).sum(axis=1).argmin())])
    return found


def write_page(
    folder: Path, rows: Sequence[Row], gains: Mapping[str, Gain], about: Sequence[str]
) -> Path:
    """`README.md` and its picture in `folder`."""
    _draw(folder / "word-error-rates.png", rows)
    lines = [
        "# Rescoring the speech of a narrow domain",
        "",
        *about,
        "",
        "| | word error rate | 95% interval | sub / ins / del | fewer errors than the first pass |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        gain, wrong = gains[row.name], row.errors
        low, high = gain.relative_interval
        lines.append(
            f"| {row.name} | {row.wer:.1f}% | {row.interval[0]:.1f} to {row.interval[1]:.1f} | "
            f"{wrong.substitutions} / {wrong.insertions} / {wrong.deletions} | "
            f"{gain.relative:.1f}% ({low:.1f} to {high:.1f}) |"
        )
    lines += ["", "![word error rates with 95% intervals](word-error-rates.png)", ""]
    page = folder / "README.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def _draw(path: Path, rows: Sequence[Row]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.45 * len(rows) + 1), layout="constrained")
    axes: Any = figure.subplots()
    rates = np.array([row.wer for row in rows])
    bounds = np.array([row.interval for row in rows]).T
    errors = np.abs(bounds - rates)
    axes.errorbar(rates, range(len(rows)), xerr=errors, fmt="o", capsize=3, color="black")
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("word error rate, %; 95% intervals")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
