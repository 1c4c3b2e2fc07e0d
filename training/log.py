"""What a run tells: progress bar, `metrics.jsonl`, TensorBoard, `curves.png`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.plots import draw_curves
from training.run_state import Progress

METRICS, CURVES = "metrics.jsonl", "curves.png"
_REDRAW_SECONDS = 60.0


class RunLog:
    """The log of one run in its folder; of several processes, only the main one keeps it."""

    def __init__(self, folder: Path, progress: Progress, max_tokens: int, *, enabled: bool) -> None:
        self.path, self.curves, self.enabled = folder / METRICS, folder / CURVES, enabled
        self._bar: tqdm[Any] = tqdm(
            total=max_tokens,
            initial=progress.tokens,
            unit="tok",
            unit_scale=True,
            smoothing=0.05,
            mininterval=1.0,
            disable=not enabled,
        )
        self._board: SummaryWriter | None = None
        self.drawn_at = time.monotonic()
        if enabled:
            folder.mkdir(parents=True, exist_ok=True)
            _forget_after(self.path, progress.step)
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=progress.step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        if self._board is not None:
            self._board.close()
            draw_curves(self.path, self.curves)

    def advance(self, tokens: int) -> None:
        self._bar.update(tokens)

    def write(self, progress: Progress, values: Mapping[str, float]) -> None:
        """One line of metrics, by step and by tokens."""
        if self._board is None:
            return
        at = dataclasses.asdict(progress)
        del at["losses"]
        line = at | {"seconds": round(progress.seconds, 1)} | dict(values)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, progress.step)
        shown = {k: f"{values[k]:.3f}" for k in ("loss", "grad_norm") if k in values}
        if shown:
            self._bar.set_postfix(shown, refresh=False)

    def redraw(self) -> None:
        """Draw the curves again, at most once a minute."""
        if self.enabled and time.monotonic() - self.drawn_at > _REDRAW_SECONDS:
            draw_curves(self.path, self.curves)
            self.drawn_at = time.monotonic()

    def say(self, text: str) -> None:
        """A line above the progress bar."""
        if self.enabled:
            tqdm.write(text)


def _forget_after(path: Path, step: int) -> None:
    """Drop the lines of steps that a resumed run takes again, and one that was cut short."""
    if not path.exists():
        return
    lines = path.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    fresh = path.with_suffix(".tmp")
    fresh.write_text("".join(kept), encoding="utf-8")
    fresh.replace(path)
