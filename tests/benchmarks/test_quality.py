"""Figures of test sets: those of the evaluation itself, for every architecture."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any, Literal

import pytest

from benchmarks.model_s import random_weights
from benchmarks.quality import (
    compare_int8,
    compressed_bits_per_byte,
    main,
    measure_baseline,
    measure_compression,
    measure_sets,
    text_lines,
)
from benchmarks.test_sets import TestSets, sets_in
from models.activation_scales import INT8_LOSS_METRIC
from models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.config import ModelConfig
from models.tokenizer import Tokenizer
from training.evaluate import evaluate_file, model_of

TURNS = ({"role": "user", "content": "hello"}, {"role": "assistant", "content": "the cat"})


@pytest.fixture
def sets(data: Path) -> TestSets:
    return {"prose": (data / "prose.txt", "newline"), "chat": (data / "chat.jsonl", "newline")}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "prose.txt").write_text("the cat sat\n\non the mat\n")
    (tmp_path / "chat.jsonl").write_text(json.dumps({"turns": TURNS}) + "\n")
    return tmp_path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    lines = [f"the cat {n} sat on the mat and said hello" for n in range(30)]
    return Tokenizer.train(lines, vocab_size=300, model_type="bpe")


def saved(
    folder: Path,
    tokenizer: Tokenizer,
    architecture: Literal["lstm", "elman"],
    training: dict[str, Any],
) -> Path:
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        architecture=architecture,
        embedding_size=16,
        hidden_sizes=(16, 16),
    )
    checkpoint = Checkpoint(
        model=config, weights=random_weights(config), tokenizer=tokenizer, training=training
    )
    save_checkpoint(checkpoint, folder)
    return folder


def test_figures_are_those_of_the_evaluation(
    data: Path, sets: TestSets, tokenizer: Tokenizer
) -> None:
    checkpoint = load_checkpoint(saved(data / "model", tokenizer, "lstm", {}))
    found = dict(measure_sets(checkpoint, sets))
    for name, (path, _) in sets.items():
        model = model_of(checkpoint)
        carried = evaluate_file(model, tokenizer, path)
        restarted = evaluate_file(model, tokenizer, path, restart_lines=True)
        assert found[name]["bits_per_byte"] == pytest.approx(carried.bits_per_byte, abs=1e-4)
        assert found[name]["restarted_word_perplexity"] == pytest.approx(
            restarted.word_perplexity, abs=0.01
        )
        assert carried.nll != restarted.nll


def test_a_baseline_is_measured_on_the_same_sets(
    data: Path, sets: TestSets, tokenizer: Tokenizer
) -> None:
    training = {"config": {"loop": {"max_tokens": 1234}}}
    folder = saved(data / "baseline", tokenizer, "elman", training)
    architecture, found = measure_baseline(folder, sets)
    checkpoint = load_checkpoint(folder)
    assert architecture == "elman"
    assert found["training_tokens"] == 1234
    assert found["parameters"] == 300 * 16 + 2 * (2 * 16 * 16 + 16)
    assert found["test_sets"] == dict(measure_sets(checkpoint, sets))


def test_compression_counts_each_line_and_its_newline(data: Path, sets: TestSets) -> None:
    lines = ["абв"] * 4000
    found = compressed_bits_per_byte(lines)
    assert set(found) == {"xz_bits_per_byte", "zstd_bits_per_byte"}
    assert all(0 < value < 0.1 for value in found.values())
    assert set(measure_compression(sets)) == set(sets)
    assert text_lines(data / "chat.jsonl") == ["hello", "the cat"]


def test_int8_is_compared_with_fp32_on_real_lines(
    data: Path, sets: TestSets, tokenizer: Tokenizer
) -> None:
    folder = saved(data / "model", tokenizer, "lstm", {})
    found = compare_int8(folder, load_checkpoint(folder), sets)
    lines = [line for path, _ in sets.values() for line in text_lines(path) if line]
    assert found["int8_compared_tokens"] == sum(len(tokenizer.encode(line)) for line in lines)
    assert 0 < found["int8_mean_difference_nats"] <= found["int8_largest_difference_nats"] < 0.1
    assert abs(found[INT8_LOSS_METRIC]) < 0.01


def test_what_was_prepared_is_measured_where_it_is_given(tmp_path: Path) -> None:
    corpora, prepared = tmp_path / "data", tmp_path / "made"
    alone, both = sets_in("en", corpora, None), sets_in("en", corpora, prepared)
    assert alone["wikitext-2"] == (corpora / "wikitext-2/test.txt.xz", "newline")
    assert both["unseen-hope"] == (prepared / "held-out/hope.txt", "newline")
    assert both.items() > alone.items()
    assert sets_in("ru", corpora, prepared) == sets_in("ru", corpora, None)


def test_system_turns_are_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"turns": [{"role": "system", "content": "x"}, *TURNS]}))
    assert text_lines(path) == ["hello", "the cat"]


def test_sets_that_are_measured_alone_leave_the_others_as_they_were(
    data: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(data / "model", tokenizer, "lstm", {})
    for name in ("russian-novels/test.txt.xz", "common-voice-sentences/ru.test.txt.xz"):
        (data / name).parent.mkdir()
        (data / name).write_bytes(lzma.compress(b"the cat sat\non the mat\n"))
    command = ["quality", "--model", str(folder), "--data", str(data), "--language", "ru"]
    monkeypatch.setattr("sys.argv", [*command, "--write", "--only", "russian-novels"])
    main()
    first = load_checkpoint(folder).metrics
    assert INT8_LOSS_METRIC in first
    monkeypatch.setattr("sys.argv", [*command, "--write", "--only", "common-voice-ru"])
    main()
    both = load_checkpoint(folder).metrics
    assert list(both["test_sets"]) == ["russian-novels", "common-voice-ru"]
    del both["test_sets"]["common-voice-ru"]
    assert both == first
