"""Whole runs of the command: what it writes, what it refuses, what it says."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from models.tokenizer import Tokenizer
from service.language_model import LanguageModel
from tests.training.small_runs import train_arguments
from training.__main__ import main
from training.config import load_config
from training.evaluate import evaluate_file, model_of

Train = Callable[..., int]
ROOT = Path(__file__).resolve().parents[2]


def metrics(out: Path) -> list[dict[str, float]]:
    path = out.with_name(out.name + ".run") / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_learns_and_leaves_a_checkpoint(
    train: Train, sentences: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    sets = ("loop.max_tokens=80000", "optimizer.lr=0.02", "loop.batch_size=4")
    assert train(out, sets=sets) == 0
    assert f"checkpoint: {out}" in capsys.readouterr().out
    checkpoint = load_checkpoint(out)
    measure = evaluate_file(model_of(checkpoint), checkpoint.tokenizer, sentences["test"])
    entropy = math.log2(5 * 4 * 5) * measure.lines / measure.bytes  # the grammar's choices
    uniform = math.log2(290) * measure.tokens / measure.bytes
    assert entropy < measure.bits_per_byte < uniform / 4
    losses = [m["valid_loss"] for m in metrics(out) if "valid_loss" in m]
    assert checkpoint.metrics["valid_loss_nats_per_token"] == min(losses)
    assert losses[-1] < losses[0]
    steps = [m for m in metrics(out) if "loss" in m]
    assert {"step", "tokens", "seconds", "loss", "grad_norm", "lr", "clipped"} <= set(steps[0])


def test_the_resolved_configuration_is_in_the_checkpoint(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "model", sets=("loop.seed=5",))
    stored = load_checkpoint(tmp_path / "model").training["config"]
    assert (stored["loop"]["seed"], stored["model"]["hidden_sizes"]) == (5, [16])
    assert stored["optimizer"]["lr"] == load_config("tiny").optimizer.lr


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    train: Train, tmp_path: Path
) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(tmp_path / name, sets=(f"loop.seed={seed}", "loop.max_tokens=4000"))
        digests.append(load_checkpoint(tmp_path / name).digest)
    assert digests[0] == digests[1] != digests[2]


def test_a_given_tokenizer_is_kept(train: Train, tmp_path: Path) -> None:
    lines = [f"the river and the red house of nobody {n % 2}" for n in range(20)]
    tokenizer = Tokenizer.train(lines, vocab_size=290, model_type="bpe")
    tokenizer.save(tmp_path / "own.model")
    train(tmp_path / "model", "--tokenizer", str(tmp_path / "own.model"))
    assert load_checkpoint(tmp_path / "model").tokenizer.model_bytes == tokenizer.model_bytes


def test_validations_without_gain_stop_a_run(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a rate that learns nothing, the first validation stays the best but for chance."""
    sets = ("loop.patience=1", "loop.eval_tokens=500", "optimizer.lr=30.0", "optimizer.clip=1e9")
    assert train(tmp_path / "model", sets=sets) == 0
    assert "early stop: best validation loss" in capsys.readouterr().out
    losses = [m["valid_loss"] for m in metrics(tmp_path / "model") if "valid_loss" in m]
    assert losses[-1] >= min(losses[:-1])
    assert load_checkpoint(tmp_path / "model").metrics["valid_loss_nats_per_token"] == min(losses)


def test_averaging_begins_when_validation_stops_to_improve(train: Train, tmp_path: Path) -> None:
    """NT-ASGD: with a rate that learns nothing more, the average is what is kept."""
    sets = (
        *("averaging.kind=nt-asgd", "averaging.nonmonotone=1", "optimizer.name=sgd"),
        *("optimizer.lr=20.0", "optimizer.schedule=constant", "loop.eval_tokens=500"),
    )
    assert train(tmp_path / "model", sets=sets) == 0
    state = json.loads((tmp_path / "model.run" / "state" / "state.json").read_text())
    num_updates, triggered = state["average"]
    assert triggered
    assert 0 < num_updates < state["progress"]["step"]


def failure(train: Train, capsys: pytest.CaptureFixture[str], *args: object, **sets: object) -> str:
    assert train(*args, **sets) == 1
    return capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run_with_advice(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("optimizer.lr=1e39", "optimizer.warmup_tokens=0", "optimizer.clip=1e30")
    message = failure(train, capsys, tmp_path / "model", sets=sets)
    assert "error: the loss became" in message
    assert "lower optimizer.lr" in message


def test_a_vocabulary_too_large_for_the_corpus_is_told_with_the_limit(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failure(train, capsys, tmp_path / "model", sets=("tokenizer.vocab_size=5000",))
    assert "vocab_size: 5000 is too large for this corpus; at most" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the corpus is empty"), (b"caf\xe9\n", "line 1: not UTF-8"), (None, "cannot be read")],
)
def test_a_corpus_that_cannot_be_used_is_told(
    content: bytes | None,
    message: str,
    sentences: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    for role in ("train", "valid"):
        command = train_arguments(sentences | {role: path}, tmp_path / f"model-{role}")
        assert main(command) == 1
        error = capsys.readouterr().err
        assert message in error
        assert "text.txt" in error


def test_a_run_is_never_overwritten_by_accident(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "model")
    capsys.readouterr()
    message = failure(train, capsys, tmp_path / "model")
    assert "holds a run already: use --resume, another --out, or remove it" in message


def test_resuming_with_other_settings_is_refused(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "model")
    message = failure(train, capsys, tmp_path / "model", "--resume", sets=("optimizer.lr=0.1",))
    assert "--resume needs the settings that the run began with" in message


def test_resuming_a_finished_run_changes_nothing(train: Train, tmp_path: Path) -> None:
    train(tmp_path / "model")
    digest = load_checkpoint(tmp_path / "model").digest
    assert train(tmp_path / "model", "--resume") == 0
    assert load_checkpoint(tmp_path / "model").digest == digest


def test_an_unknown_setting_suggests_the_nearest(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = failure(train, capsys, tmp_path / "model", sets=("loop.bppt=3",))
    assert "unknown setting 'loop.bppt': did you mean 'bptt'?" in message
    assert not (tmp_path / "model.run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(
    number: signal.Signals, sentences: dict[str, Path], tmp_path: Path
) -> None:
    arguments = train_arguments(sentences, tmp_path / "model", sets=("loop.max_tokens=100000000",))
    command = [sys.executable, "-m", "training", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    log = tmp_path / "model.run" / "metrics.jsonl"
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not log.exists():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, stderr
    assert "everything is saved. To go on, repeat the command with --resume." in stdout
    state = json.loads((tmp_path / "model.run" / "state" / "state.json").read_text())
    assert state["progress"]["step"] >= 20
    with LanguageModel.load(tmp_path / "model") as model:  # what it left can be used
        assert model.score("the cat sees the moon .").logprob < 0
