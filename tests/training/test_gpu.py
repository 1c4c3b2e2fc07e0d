"""`--device`: a clear word where there is no GPU, and the CPU's loss curve where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from models.checkpoint import load_checkpoint
from tests.training.small_runs import train_arguments
from training.__main__ import main

has_gpu = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not has_gpu, reason="needs a GPU that torch finds")


def run(files: dict[str, Path], out: Path, device: str, *options: str) -> list[float]:
    """The logged losses of a run in float32 on a device."""
    sets = ("loop.max_tokens=6000", "loop.eval_tokens=2000", "loop.precision=float32")
    arguments = train_arguments(files, out, *options, sets=sets)
    arguments[arguments.index("--device") + 1] = device
    assert main(arguments) == 0
    lines = (out.with_name(out.name + ".run") / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if "loss" in record]


@pytest.mark.skipif(has_gpu, reason="this machine has a GPU")
def test_where_there_is_none_that_is_said(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = train_arguments(sentences, tmp_path / "m")
    arguments[arguments.index("--device") + 1] = "cuda"
    assert main(arguments) == 1
    assert "--device cuda: torch finds no GPU on this machine" in capsys.readouterr().err
    assert not (tmp_path / "m.run").exists()


@needs_gpu
def test_a_gpu_takes_the_path_of_the_cpu(sentences: dict[str, Path], tmp_path: Path) -> None:
    """Without dropout, whose masks each device draws in its own way."""
    on_cpu = run(sentences, tmp_path / "cpu", "cpu")
    on_gpu = run(sentences, tmp_path / "gpu", "cuda")
    assert on_gpu == pytest.approx(on_cpu, rel=1e-2)
    assert load_checkpoint(tmp_path / "gpu").digest


@needs_gpu
def test_a_run_begun_on_a_cpu_goes_on_on_a_gpu(sentences: dict[str, Path], tmp_path: Path) -> None:
    run(sentences, tmp_path / "m", "cpu")
    arguments = train_arguments(sentences, tmp_path / "m", "--resume")
    arguments[arguments.index("--device") + 1] = "cuda"
    sets = arguments.index("--set")
    kept = [a for a in arguments[sets:] if not a.startswith(("loop.max_tokens", "loop.eval"))]
    kept += ["loop.max_tokens=9000", "loop.eval_tokens=2000", "loop.precision=float32"]
    assert main([*arguments[:sets], *kept]) == 0
    state = json.loads((tmp_path / "m.run" / "state" / "state.json").read_text())
    assert state["progress"]["tokens"] >= 9000
