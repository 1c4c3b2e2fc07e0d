"""What a newcomer types, and what he sees: the command line from a text to a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from service.language_model import LanguageModel
from tests.training.small_runs import TINY, train_arguments, write_sentences
from training.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
QUICK = [each for each in TINY if not each.startswith("loop.")]
SHORT = [*QUICK, "loop.batch_size=4", "loop.max_tokens=1000"]


def prepared(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["prepare", "--corpus", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_validation_text_that_was_trained_on_is_said_loudly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_sentences(tmp_path / "t.txt", 400, 1)
    files = {"train": text, "valid": text}
    assert main(train_arguments(files, tmp_path / "m", sets=("loop.max_tokens=1000",))) == 0
    said = capsys.readouterr().out
    assert (
        "WARNING: 100% of the validation text's lines stand word for word in the training" in said
    )


def test_text_may_come_through_a_pipe(tmp_path: Path) -> None:
    text = write_sentences(tmp_path / "t.txt", 400, 1).read_text()
    command = [sys.executable, "-m", "training", "train", "--corpus", "-@lines"]
    command += ["--out", str(tmp_path / "m"), "--processes", "2", "--set", *SHORT]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "read: 400 documents" in done.stdout
    assert load_checkpoint(tmp_path / "m").training["origin"]["train_tokens"] > 1000


def test_another_kind_of_file_is_refused_by_name_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.pdf").write_bytes(b"%PDF-1.7")
    command = ["train", "--corpus", str(tmp_path / "book.pdf"), "--out", str(tmp_path / "m")]
    assert main(command) == 1
    assert "book.pdf: .pdf is no kind of file that is read" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["book.pdf"]


def test_keys_and_columns_are_named_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text('{"body": "two words"}\n{"body": "one"}\n')
    (tmp_path / "b.csv").write_text('id,comment\n1,"three, more words"\n')
    said = prepared(capsys, tmp_path, "--text-key", "body", "--column", "comment")
    assert "3 documents, 6 words" in said
    assert main(["prepare", "--corpus", str(tmp_path / "b.csv")]) == 1
    assert "which column holds the text? Name one of 'id', 'comment'" in capsys.readouterr().err


def test_what_is_odd_in_a_corpus_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("same\nsame\nnull \x00 and \ufffd\n", encoding="utf-8")
    said = prepared(capsys, f"{tmp_path / 't.txt'}@lines")
    assert "1 duplicates, 2 odd characters (controls, U+FFFD)" in said
    (tmp_path / "latin.txt").write_bytes("grün\n".encode("latin-1"))
    assert main(["prepare", "--corpus", str(tmp_path / "latin.txt")]) == 1
    assert "latin.txt, line 1: not UTF-8" in capsys.readouterr().err


def test_duplicates_are_dropped_from_what_is_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_sentences(tmp_path / "t.txt", 300, 1).read_text()
    (tmp_path / "t.txt").write_text(text * 3)
    sizes = []
    for name, options in (("all", []), ("once", ["--dedupe"])):
        command = [
            "train",
            "--corpus",
            f"{tmp_path / 't.txt'}@lines",
            "--out",
            str(tmp_path / name),
        ]
        assert main([*command, *options, "--processes", "1", "--set", *SHORT]) == 0
        sizes.append(load_checkpoint(tmp_path / name).training["origin"]["train_tokens"])
    assert sizes[1] < 0.4 * sizes[0]
    capsys.readouterr()


def test_a_finished_run_goes_on_for_more_passes(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--corpus", str(sentences["test"]), "--out", str(tmp_path / "m")]
    sets = ["--set", *QUICK, "loop.batch_size=4", "loop.eval_tokens=1000"]
    for options in (["--epochs", "0.5"], ["--epochs", "1.5", "--resume"]):
        assert main([*command, "--processes", "1", *options, *sets]) == 0
    assert "1.50 passes" in capsys.readouterr().out
    lines = (tmp_path / "m.run" / "metrics.jsonl").read_text().splitlines()
    tokens = [record["tokens"] for record in map(json.loads, lines) if "valid_loss" in record]
    assert tokens == sorted(tokens)
    assert tokens[-1] > 2.5 * tokens[0]


def test_a_model_of_prose_refuses_to_chat(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(train_arguments(sentences, tmp_path / "m", sets=("loop.max_tokens=1000",))) == 0
    with (
        LanguageModel.load(tmp_path / "m") as model,
        pytest.raises(ValueError, match="chat"),
    ):
        model.chat([{"role": "user", "content": "Hi!"}])
    asked = ("chat.enabled=true", "loop.max_tokens=1000")
    assert main(train_arguments(sentences, tmp_path / "n", sets=asked)) == 0
    assert "WARNING: chat.enabled, but the corpus has no dialogue" in capsys.readouterr().out
