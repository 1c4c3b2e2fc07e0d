"""Settings and text of a run: chosen for the corpus, and held to when the run goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from tests.training.small_checkpoints import small_tokenizer
from tests.training.small_runs import train_arguments, write_sentences
from training.__main__ import main

Train = Callable[..., int]
SHORT = ("loop.max_tokens=2000", "loop.eval_tokens=1000")


def stored(out: Path) -> dict[str, dict[str, object]]:
    path = out.with_name(out.name + ".run") / "config.json"
    value: dict[str, dict[str, object]] = json.loads(path.read_text())
    return value


def test_the_first_command_needs_a_corpus_and_a_place(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No preset, no validation text; the vocabulary shrinks to what the little text allows."""
    out = tmp_path / "model"
    command = ["train", "--corpus", str(sentences["train"]), "--out", str(out), "--epochs", "0.1"]
    sets = ["model.embedding_size=16", "model.hidden_sizes=[16]", "tokenizer.vocab_size=512"]
    assert main([*command, "--set", *sets]) == 0
    said = capsys.readouterr().out
    assert "chosen for 0.04 MB of text" in said
    assert "validation text: the last 5.0% of the lines of the corpus" in said
    assert "pieces instead of 512" in said
    assert "Kneser-Ney 5-gram" in said
    assert load_checkpoint(out).chat_template is None
    assert stored(out)["loop"]["epochs"] == pytest.approx(0.1, rel=0.01)


def test_a_finished_run_goes_on_when_it_may_be_longer(
    train: Train, tmp_path: Path, sentences: dict[str, Path]
) -> None:
    out = tmp_path / "model"
    assert train(out, sets=SHORT) == 0
    steps = load_checkpoint(out).training["progress"]["step"]
    longer = train_arguments(sentences, out, "--resume")
    longer = [a for a in longer if not a.startswith(("loop.max_tokens", "loop.eval_tokens"))]
    assert main([*longer, "loop.max_tokens=4000", "loop.eval_tokens=1000"]) == 0
    state = json.loads((tmp_path / "model.run" / "state" / "state.json").read_text())
    assert state["progress"]["tokens"] >= 4000
    assert state["progress"]["step"] > steps


@pytest.mark.parametrize("role", ["train", "valid"])
def test_going_on_with_another_text_is_refused(
    role: str,
    sentences: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "model"
    assert main(train_arguments(sentences, out, sets=SHORT)) == 0
    other = write_sentences(tmp_path / "other.txt", 200, 9)
    command = train_arguments(sentences | {role: other}, out, "--resume", sets=SHORT)
    assert main(command) == 1
    option = {"train": "--corpus", "valid": "--valid"}[role]
    assert f"--resume: {option} is not what the run" in capsys.readouterr().err


def test_going_on_with_another_tokenizer_is_refused(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    assert main(train_arguments(sentences, out, sets=SHORT)) == 0
    small_tokenizer().save(tmp_path / "other.model")
    options = ["--resume", "--tokenizer", str(tmp_path / "other.model")]
    assert main(train_arguments(sentences, out, *options, sets=SHORT)) == 1
    assert "began with another tokenizer" in capsys.readouterr().err
