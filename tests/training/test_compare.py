from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.small_checkpoints import random_checkpoint
from training.compare import compare
from training.corpus import CorpusError
from training.evaluate import evaluate_file, model_of


def text(path: Path, lines: int) -> Path:
    path.write_text("".join(f"some words {n % 7} of the river\n" for n in range(lines)))
    return path


def test_a_model_beside_itself_differs_by_nothing(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    found = compare(checkpoint, checkpoint, [text(tmp_path / "t.txt", 100)])
    assert (found.first, found.documents, found.wins) == (found.second, 5, 0)
    assert found.p_value == 1.0
    assert found.low == found.high == 0


def test_a_clear_difference_is_no_chance_and_lies_in_its_interval(tmp_path: Path) -> None:
    path = text(tmp_path / "t.txt", 40)
    wild, tame = random_checkpoint(spread=3.0), random_checkpoint(spread=0.1)  # near uniform
    found = compare(wild, tame, [path], restart_lines=True)
    assert found.documents == 40
    assert found.first > found.second
    assert found.p_value < 0.001
    assert 0 < found.low < found.first - found.second < found.high
    reverse = compare(tame, wild, [path], restart_lines=True)
    assert reverse.p_value == pytest.approx(found.p_value, abs=0.002)
    assert (reverse.first, reverse.wins) == (found.second, 40 - found.wins)


def test_documents_of_running_text_add_up_to_its_loss(tmp_path: Path) -> None:
    checkpoint, path = random_checkpoint(), text(tmp_path / "t.txt", 45)
    found = compare(checkpoint, checkpoint, [path])
    measure = evaluate_file(model_of(checkpoint), checkpoint.tokenizer, path)
    # Bytes here are the tokens' own, in which every line starts with a dummy space.
    scale = (measure.bytes + measure.lines) / measure.bytes
    assert found.first * scale == pytest.approx(measure.bits_per_byte, rel=1e-4)


def test_one_document_is_no_comparison(tmp_path: Path) -> None:
    checkpoint = replace(random_checkpoint())
    with pytest.raises(CorpusError, match="two documents or more"):
        compare(checkpoint, checkpoint, [text(tmp_path / "t.txt", 3)])
