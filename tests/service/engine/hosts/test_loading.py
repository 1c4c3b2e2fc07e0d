"""Which kernel serves a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.activation_scales import INT8_LOSS_METRIC
from models.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from service.engine.hosts import loading
from service.engine.hosts.async_engine import EngineOptions, Precision
from service.engine.hosts.loading import choose_arithmetic, load_engine


@pytest.mark.parametrize(
    ("precision", "metrics", "chosen"),
    [
        ("auto", {INT8_LOSS_METRIC: 0.0005}, "int8"),
        ("auto", {INT8_LOSS_METRIC: -0.0005}, "int8"),
        ("auto", {INT8_LOSS_METRIC: 0.002}, "fp32"),
        ("auto", {}, "fp32"),
        ("auto", {INT8_LOSS_METRIC: "unknown"}, "fp32"),
        ("int8", {}, "int8"),
        ("fp32", {INT8_LOSS_METRIC: 0.0}, "fp32"),
    ],
)
def test_int8_is_chosen_where_its_loss_is_known_to_be_negligible(
    checkpoint: Path, tmp_path: Path, precision: Precision, metrics: dict[str, Any], chosen: str
) -> None:
    loaded = load_checkpoint(checkpoint)
    save_checkpoint(
        type(loaded)(
            model=loaded.model, weights=loaded.weights, tokenizer=loaded.tokenizer, metrics=metrics
        ),
        tmp_path / "model",
    )
    options = EngineOptions(device="cpu", precision=precision, max_num_seqs=2)
    engine, info = load_engine(tmp_path / "model", options)
    assert info.precision == engine.runner.arithmetic == chosen


def test_int8_is_not_used_where_products_overflow(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = replace(load_checkpoint(checkpoint), metrics={INT8_LOSS_METRIC: 0.0})
    assert choose_arithmetic(loaded, EngineOptions()) == "int8"
    monkeypatch.setattr(loading, "integer_products_are_exact", lambda: False)
    assert choose_arithmetic(loaded, EngineOptions()) == "fp32"
    assert choose_arithmetic(loaded, EngineOptions(precision="fp32")) == "fp32"
    with pytest.raises(ValueError, match=r"int8.*overflow.*fp32"):
        choose_arithmetic(loaded, EngineOptions(precision="int8"))


def test_the_options_bound_rows_and_cache(checkpoint: Path) -> None:
    options = EngineOptions(device="cpu", max_num_seqs=3, cache_bytes=12345)
    engine, info = load_engine(checkpoint, options)
    assert engine.scheduler.max_num_seqs == engine.runner.max_rows == 3
    assert engine.cache.max_bytes == 12345
    loaded = load_checkpoint(checkpoint)
    assert (info.digest, info.device) == (loaded.digest, "cpu")
    assert info.vocab_size == loaded.model.vocab_size
    assert info.state_size == engine.runner.layout.size


def test_a_folder_without_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_engine(tmp_path, EngineOptions(device="cpu"))


def test_int8_on_a_gpu_is_refused_and_not_silently_float32(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_has_cuda", lambda: True)
    for device in ("cuda", "auto"):
        options = EngineOptions(device=device, precision="int8")
        with pytest.raises(ValueError, match="int8: the GPU computes in fp32"):
            load_engine(checkpoint, options)
