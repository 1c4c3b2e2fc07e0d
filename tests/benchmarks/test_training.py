"""The loop beside the reference: measured with any precision that a configuration names."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import torch

from benchmarks.training import main

SMALL = (
    "model.embedding_size=16", "model.hidden_sizes=[16]", "tokenizer.vocab_size=300",
    "loop.batch_size=4", "loop.bptt=4",
)  # fmt: skip


@pytest.fixture(autouse=True)
def denormal() -> Iterator[None]:
    """The benchmark has a process of its own, where it may round the smallest numbers to zero."""
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_both_loops_are_measured(precision: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--set", *SMALL, f"loop.precision={precision}"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["benchmark"] == "training"
    assert record["train_vs_reference"] > 0


def test_what_the_reference_does_not_know_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--quick", "--set", "model.hidden_sizes=[768,512]"])
    assert "layers of one width" in capsys.readouterr().err
