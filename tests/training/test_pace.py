"""The length that a run's minutes allow, by measured speed."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from training.config import TrainConfig, parse_config
from training.distributed import Workers
from training.learner import Learner
from training.pace import tokens_per_second, within_minutes
from training.run_state import Progress

Train = Callable[..., int]


def config_of(**loop: Any) -> TrainConfig:
    return parse_config({"loop": loop})


def test_a_run_is_cut_to_what_its_minutes_allow(capsys: pytest.CaptureFixture[str]) -> None:
    cut = within_minutes(config_of(max_tokens=1_000_000, minutes=2), 1000, 100_000)
    assert cut.loop.max_tokens == 120_000
    assert cut.loop.epochs == pytest.approx(1.2)
    said = capsys.readouterr().out
    assert "1.2 passes of 10.0: as many as 2 minutes allow" in said
    assert "1,000 tokens a second" in said


def test_a_run_that_fits_keeps_its_length(capsys: pytest.CaptureFixture[str]) -> None:
    kept = within_minutes(config_of(max_tokens=90_000, minutes=2), 1000, 30_000)
    assert kept.loop.max_tokens == 90_000
    assert "length: 3.0 passes, about 2 minutes" in capsys.readouterr().out


def test_speed_is_tokens_over_time_without_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Steady:
        """A learner whose steps have 100 tokens; the first takes a minute, the others a second."""

        def __init__(self) -> None:
            self.clock, self.workers = 0.0, Workers(0, 1, cast(Any, "cpu"))
            self.state = SimpleNamespace(progress=Progress())

        def step(self) -> None:
            self.clock += 1.0 if self.state.progress.step else 60.0
            self.state.progress.step += 1
            self.state.progress.tokens += 100

    learner = Steady()
    monkeypatch.setattr("training.pace.time.monotonic", lambda: learner.clock)
    assert tokens_per_second(cast(Learner, learner), seconds=5.0) == 100.0
    assert learner.state.progress.step == 6


def test_a_run_with_minutes_measures_then_begins_afresh(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The steps that were timed leave no trace: the run is the one without --minutes."""
    monkeypatch.setattr(tokens_per_second, "__defaults__", (0.1,))
    short = ("loop.max_tokens=3000", "loop.eval_tokens=1500")
    assert train(tmp_path / "plain", sets=short) == 0
    assert train(tmp_path / "bound", "--minutes", "50", sets=short) == 0
    assert "length: " in capsys.readouterr().out
    plain, bound = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("plain", "bound")
    )
    assert plain == bound


def test_what_the_minutes_allowed_holds_when_the_run_goes_on(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("training.run.tokens_per_second", lambda _: 50.0)
    short = ("loop.eval_tokens=1500",)
    assert train(tmp_path / "m", "--minutes", "1", sets=short) == 0
    stored = json.loads((tmp_path / "m.run" / "config.json").read_text())["loop"]
    assert stored["max_tokens"] == 3000, "a minute at 50 tokens a second, of 20,000 asked for"
    assert train(tmp_path / "m", "--resume", "--minutes", "1", sets=short) == 0
    again = json.loads((tmp_path / "m.run" / "config.json").read_text())["loop"]
    assert again["max_tokens"] == 3000
    assert train(tmp_path / "m", "--resume", "--minutes", "2", sets=short) == 1
    assert "--minutes bounds a run from its beginning" in capsys.readouterr().err
