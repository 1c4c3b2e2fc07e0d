import json
import math
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
    EventAccumulator,
)

from training.log import RunLog
from training.plots import curves
from training.run_state import Progress


def write_steps(folder: Path, first: int, last: int, resumed_at: int = 0) -> None:
    start = Progress(step=resumed_at, tokens=10 * resumed_at)
    with RunLog(folder, start, max_tokens=1000, enabled=True) as log:
        for step in range(first, last + 1):
            values = {"loss": 5 / step, "grad_norm": 1.0, "clipped": 0.5, "lr": 0.1}
            log.write(Progress(step, 10 * step, 0.5 * step), values | {"tokens_per_second": 20.0})
        log.write(Progress(last, 10 * last, 0.5 * last), {"valid_loss": 5 / last})


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_log_is_kept_in_three_forms(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 6)
    lines = records(tmp_path)
    assert [line["loss"] for line in lines[:-1]] == [5 / k for k in range(1, 7)]
    assert lines[-1] == {"step": 6, "tokens": 60, "seconds": 3.0, "valid_loss": 5 / 6}
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"loss", "grad_norm", "clipped", "lr", "valid_loss"} <= set(board.Tags()["scalars"])
    scalars = board.Scalars("loss")
    assert [event.step for event in scalars] == list(range(1, 7))
    assert math.isclose(scalars[-1].value, 5 / 6, rel_tol=1e-6)
    png = (tmp_path / "curves.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) > 10_000


def test_curves_show_loss_validation_rate_and_norm_with_the_clipped_share(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 6)
    losses, rates, norms, _speed, shares = curves(tmp_path / "metrics.jsonl").axes
    lines = {line.get_label(): line.get_xydata() for line in losses.lines}
    assert np.allclose(lines["training"], [(10 * k, 5 / k) for k in range(1, 7)])
    assert np.allclose(lines["validation"], [(60, 5 / 6)])
    for axes, label, value in (
        (rates, "learning rate", 0.1),
        (norms, "gradient norm", 1.0),
        (shares, "share of steps clipped", 0.5),
    ):
        assert axes.get_ylabel() == label
        assert np.allclose(axes.lines[0].get_ydata(), value)


def test_curves_are_drawn_once_a_minute_while_a_run_goes_on(tmp_path: Path) -> None:
    with RunLog(tmp_path, Progress(), max_tokens=10, enabled=True) as log:
        log.redraw()
        assert not log.curves.exists()
        log.drawn_at -= 61
        log.redraw()
        assert log.curves.exists()


def test_a_resumed_run_takes_its_steps_again_but_not_twice(tmp_path: Path) -> None:
    write_steps(tmp_path, 1, 9)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "cut sho')
    write_steps(tmp_path, 5, 7, resumed_at=4)
    assert [line["step"] for line in records(tmp_path)] == [1, 2, 3, 4, 5, 6, 7, 7]


def test_other_processes_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path / "run", Progress(), max_tokens=10, enabled=False) as log:
        log.write(Progress(step=1), {"loss": 1.0})
        log.say("hello")
        log.advance(5)
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr() == ("", "")
