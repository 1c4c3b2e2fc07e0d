"""`train`, `adapt` and `evaluate` in Python do what the commands do."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from lstm_serve import adapt, evaluate, train
from models.checkpoint import Checkpoint, load_checkpoint
from tests.training.small_runs import TINY, train_arguments
from training.__main__ import main

SETTINGS: dict[str, Any] = {
    name: json.loads(value) for name, _, value in (each.partition("=") for each in TINY)
} | {"loop.max_tokens": 3000, "loop.eval_tokens": 1500}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, sentences: dict[str, Path]) -> Path:
    out = tmp_path_factory.mktemp("api") / "model"
    train(
        sentences["train"],
        out,
        valid=sentences["valid"],
        preset="tiny",
        settings=SETTINGS,
        processes=1,
        license="CC0",
    )
    return out


def test_training_is_that_of_the_command(
    trained: Path, sentences: dict[str, Path], tmp_path: Path
) -> None:
    sets = ("loop.max_tokens=3000", "loop.eval_tokens=1500")
    assert main(train_arguments(sentences, tmp_path / "model", sets=sets)) == 0
    one, other = load_checkpoint(trained), load_checkpoint(tmp_path / "model")
    assert one.digest == other.digest
    assert one.training["config"] == other.training["config"]
    assert one.training["origin"]["license"] == "CC0"
    assert one.training["origin"]["command"].startswith("lstm-train train --corpus")
    assert (trained / "report.html").exists()


def test_progress_is_shown(
    sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = train(
        str(sentences["train"]), tmp_path / "m", epochs=0.05, preset="tiny", settings=SETTINGS_SHORT
    )
    assert isinstance(found, Checkpoint)
    printed = capsys.readouterr()
    assert "tok/s" in printed.err
    assert "validation text: the last 5.0%" in printed.out


SETTINGS_SHORT = {k: v for k, v in SETTINGS.items() if not k.startswith("loop.max")}


def test_a_run_may_be_in_a_thread_of_its_own(sentences: dict[str, Path], tmp_path: Path) -> None:
    """Where signals cannot be caught: in a worker of a program, say."""
    found: list[object] = []

    def work() -> None:
        try:
            text = sentences["train"]
            found.append(train(text, tmp_path / "m", preset="tiny", settings=SETTINGS))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert isinstance(found[0], Checkpoint), found


def test_adapting_is_that_of_the_command(
    trained: Path, sentences: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("river\n")
    corpus = f"{sentences['test']}@lines"
    found = adapt(
        trained,
        corpus,
        tmp_path / "a",
        words=tmp_path / "names.txt",
        epochs=1,
        rate=1e-3,
        mix="self",
    )
    assert set(found.metrics["adaptation"]["words"]) == {"river"}
    command = ["adapt", "--base", str(trained), "--corpus", corpus, "--out", str(tmp_path / "b")]
    assert main([*command, "--epochs", "1", "--rate", "1e-3", "--mix", "self"]) == 0
    assert load_checkpoint(tmp_path / "b").digest == found.digest


def test_figures_are_those_of_the_command(
    trained: Path,
    sentences: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["evaluate", "--model", str(trained), "--text", str(sentences["test"]), "--json"]
    assert main(command) == 0
    printed = json.loads(capsys.readouterr().out)["results"][str(sentences["test"])]
    assert evaluate(trained, sentences["test"]) == printed
    assert evaluate(load_checkpoint(trained), str(sentences["test"])) == printed
    pair = {"sentence_good": "the cat sees", "sentence_bad": "cat the sees", "UID": "order"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    found = evaluate(trained, tmp_path / "pairs.jsonl", suite="blimp")
    assert found["order"]["pairs"] == found["all"]["pairs"] == 1


def test_a_wrong_option_is_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"no option 'epoch'; there are .*epochs"):
        adapt(trained, "text.txt", tmp_path / "m", epoch=3)
    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        train("text.txt", tmp_path / "m", settings={"loop.epoch": 3})
    with pytest.raises(ValueError, match="did you mean 'blimp'"):
        evaluate(trained, "text.txt", suite="blmp")
