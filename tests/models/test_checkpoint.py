import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.checkpoint import (
    Checkpoint,
    CheckpointError,
    expected_shapes,
    load_checkpoint,
    read_config,
    save_checkpoint,
)
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from models.weights import Storage

ROOT = Path(__file__).resolve().parents[2]


def train_tokenizer(vocab_size: int, *words: str) -> Tokenizer:
    lines = [f"the {word} by the {word}s and {word} {n}" for word in words for n in range(8)]
    return Tokenizer.train(lines, vocab_size=vocab_size, model_type="bpe")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    tokenizer = train_tokenizer(300, "river", "stone", "bridge")
    model = ModelConfig(vocab_size=300, embedding_size=6, hidden_sizes=(8, 6), residual=True)
    rng = np.random.default_rng(0)
    weights = {
        name: rng.standard_normal(shape, dtype=np.float32)
        for name, shape in expected_shapes(model).items()
    }
    return Checkpoint(
        model=model,
        weights=weights,
        tokenizer=tokenizer,
        chat_template={"roles": {"user": "<|user|>"}, "end_of_turn": "<|end|>"},
        sampling_defaults={"temperature": 0.7},
        training={"config": {"seed": 1}},
        metrics={"bits_per_byte": 1.5},
        card="# A model\n",
    )


@pytest.fixture
def folder(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(checkpoint, tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("float32", 0), ("float16", 1e-3), ("int8", 2e-2)]
)
def test_everything_comes_back(
    checkpoint: Checkpoint, storage: Storage, tolerance: float, tmp_path: Path
) -> None:
    digest = save_checkpoint(replace(checkpoint, storage=storage), tmp_path / "saved")
    loaded = load_checkpoint(tmp_path / "saved")
    assert loaded.digest == digest
    for field in ("model", "chat_template", "sampling_defaults", "training", "metrics", "card"):
        assert getattr(loaded, field) == getattr(checkpoint, field)
    assert (loaded.storage, loaded.tokenizer.model_bytes) == (
        storage,
        checkpoint.tokenizer.model_bytes,
    )
    assert set(loaded.weights) == set(checkpoint.weights)
    for name, tensor in checkpoint.weights.items():
        assert loaded.weights[name].dtype == np.float32
        assert np.abs(loaded.weights[name] - tensor).max() <= tolerance * np.abs(tensor).max()


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_saving_what_was_loaded_is_the_same_model(
    checkpoint: Checkpoint, storage: Storage, tmp_path: Path
) -> None:
    save_checkpoint(replace(checkpoint, storage=storage), tmp_path / "one")
    loaded = load_checkpoint(tmp_path / "one")
    save_checkpoint(loaded, tmp_path / "two")
    again = load_checkpoint(tmp_path / "two")
    for name, tensor in loaded.weights.items():
        assert np.allclose(again.weights[name], tensor, rtol=1e-6, atol=0)


def test_the_digest_names_the_content_and_nothing_else(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    digest = save_checkpoint(checkpoint, tmp_path / "a")
    other_card = replace(checkpoint, card="# Another\n", metrics={})
    assert save_checkpoint(other_card, tmp_path / "b") == digest
    weights = {**checkpoint.weights, "layers.0.bias": checkpoint.weights["layers.0.bias"] + 1}
    assert save_checkpoint(replace(checkpoint, weights=weights), tmp_path / "c") != digest


def test_everyone_may_read_a_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """A service runs as another user than the one who trained."""
    before = os.umask(0o022)
    try:
        save_checkpoint(checkpoint, tmp_path / "saved")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "saved").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert stat.S_IMODE((tmp_path / "saved").stat().st_mode) == 0o755
    assert set(modes) == {
        "config.json", "model.safetensors", "tokenizer.model", "metrics.json", "README.md"
    }  # fmt: skip


def test_a_failed_save_keeps_the_checkpoint_that_was_there(
    checkpoint: Checkpoint, folder: Path
) -> None:
    digest = load_checkpoint(folder).digest
    with pytest.raises(ValueError, match="storage"):
        save_checkpoint(replace(checkpoint, storage="int4"), folder)  # type: ignore[arg-type]
    assert load_checkpoint(folder).digest == digest
    assert [p.name for p in folder.parent.iterdir()] == ["saved"]


def test_metrics_and_card_are_not_needed(folder: Path) -> None:
    (folder / "metrics.json").unlink()
    (folder / "README.md").unlink()
    loaded = load_checkpoint(folder)
    assert (loaded.metrics, loaded.card) == ({}, "")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit])
def test_damage_to_a_file_is_told_with_its_name(name: str, damage: object, folder: Path) -> None:
    assert callable(damage)
    damage(folder / name)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged .* copy the folder again"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.model"])
def test_a_missing_file_is_told(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"incomplete: .*{name} is missing; copy it again"):
        load_checkpoint(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    train_tokenizer(300, "river", "stone", "castle").save(folder / "tokenizer.model")
    with pytest.raises(CheckpointError, match=r"tokenizer.model is damaged or belongs to another"):
        load_checkpoint(folder)


def test_a_tokenizer_of_another_size_is_refused_even_where_the_digests_fit(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    other = train_tokenizer(295, "river", "stone", "bridge")
    save_checkpoint(replace(checkpoint, tokenizer=other), tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"has 295 pieces, its model 300: .*not of the same"):
        load_checkpoint(tmp_path / "saved")


def test_weights_of_another_shape_are_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    wide = {**checkpoint.weights, "layers.0.bias": np.zeros(33, np.float32)}
    save_checkpoint(replace(checkpoint, weights=wide), tmp_path / "wide")
    with pytest.raises(CheckpointError, match=r"layers.0.bias is \(33,\), expected \(32,\)"):
        load_checkpoint(tmp_path / "wide")
    few = {k: v for k, v in checkpoint.weights.items() if k != "layers.1.bias"}
    save_checkpoint(replace(checkpoint, weights=few), tmp_path / "few")
    with pytest.raises(CheckpointError, match=r"do not fit its config.json: see layers.1.bias"):
        load_checkpoint(tmp_path / "few")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_weights_that_are_not_finite_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, storage: Storage, value: float
) -> None:
    """Once served, they gave log-probabilities of 0: certainty."""
    weights = {name: weight.copy() for name, weight in checkpoint.weights.items()}
    weights["layers.0.weight_hh"][1, 2] = value
    with np.errstate(all="ignore"):
        save_checkpoint(replace(checkpoint, weights=weights, storage=storage), tmp_path / "m")
        with pytest.raises(CheckpointError, match=r"NaN or infinity, in layers\.0\.weight_hh"):
            load_checkpoint(tmp_path / "m")


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"format version 2, newer than the 1 .*upgrade lstm-serve"),
        ({"format_version": "x"}, r"format version x"),
        ({"format": "pickle"}, r"config.json is not of the form 'lstm-serve/checkpoint'"),
        ({"digest": "sha256:00"}, r"config.json was altered: .*restore the folder"),
        ({"files": {}}, r"must name model.safetensors and tokenizer.model"),
        ({"model": {"vocab_size": 300}}, r"cannot be read: 'hidden_sizes'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    changes: dict[str, object], message: str, folder: Path
) -> None:
    edit_config(folder, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_an_altered_shape_is_noticed(folder: Path) -> None:
    """`residual` changes no tensor's shape, only the answers."""
    model = read_config(folder)["model"]
    edit_config(folder, model=model | {"residual": False})
    with pytest.raises(CheckpointError, match="was altered"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["{", "[]", "\udc80"])
def test_a_damaged_config_is_told(text: str, folder: Path) -> None:
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config.json is damaged"):
        load_checkpoint(folder)


def test_a_config_that_lacks_a_part_is_told(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["digest"], config["storage"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="lacks digest, storage"):
        load_checkpoint(folder)


def test_a_folder_that_is_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*missing: there is no"):
        load_checkpoint(tmp_path / "missing")
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it has no config\.json"):
        load_checkpoint(tmp_path)


def test_a_save_that_was_cut_short_tells_where_the_old_checkpoint_is(folder: Path) -> None:
    folder.rename(folder.with_name(".saved.previous"))
    with pytest.raises(CheckpointError, match=r"cut short: rename .*\.saved\.previous to it"):
        load_checkpoint(folder)


@pytest.mark.parametrize("module", ["config", "tokenizer", "weights", "checkpoint"])
def test_reading_a_model_as_numbers_needs_no_torch(module: str) -> None:
    """A process of its own: this one has torch loaded by other tests."""
    code = f"import sys, models.{module}; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
