"""`train --init-from`: a model goes on with the text of another domain."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from models.checkpoint import load_checkpoint
from models.tokenizer import Tokenizer
from tests.training.small_runs import train_arguments, write_sentences
from training.__main__ import main
from training.evaluate import evaluate_file, model_of

Train = Callable[..., int]
SETS = ("loop.batch_size=4", "optimizer.lr=0.02")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, sentences: dict[str, Path]) -> Path:
    out = tmp_path_factory.mktemp("base") / "base"
    arguments = train_arguments(sentences, out, sets=(*SETS, "loop.max_tokens=60000"))
    assert main(arguments) == 0
    return out


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Little text of a new domain: the old words in the order of questions."""
    folder, draw = tmp_path_factory.mktemp("domain"), random.Random(5)
    files = {}
    for seed, (name, count) in enumerate({"train": 60, "valid": 40, "test": 200}.items(), 10):
        path = write_sentences(folder / f"{name}.txt", count, seed)
        lines = [line.removesuffix(" .") for line in path.read_text().splitlines()]
        questions = [f"who {line.split(' ', 2)[-1]} {draw.choice('ab')} ?" for line in lines]
        path.write_text("\n".join(questions) + "\n")
        files[name] = path
    return files


def bits(model: Path, text: Path) -> float:
    checkpoint = load_checkpoint(model)
    return evaluate_file(model_of(checkpoint), checkpoint.tokenizer, text).bits_per_byte


def test_adapting_beats_the_base_and_a_start_from_scratch(
    base: Path, domain: dict[str, Path], tmp_path: Path
) -> None:
    sets = (*SETS, "loop.max_tokens=6000", "loop.eval_tokens=2000", "optimizer.warmup_tokens=500")
    adapted, scratch = tmp_path / "adapted", tmp_path / "scratch"
    options = ["--init-from", str(base)]
    assert main(train_arguments(domain, adapted, *options, sets=sets)) == 0
    tokenizer = ["--tokenizer", str(base / "tokenizer.model")]
    assert main(train_arguments(domain, scratch, *tokenizer, sets=sets)) == 0
    measured = {p.name: bits(p, domain["test"]) for p in (base, adapted, scratch)}
    assert measured["adapted"] < 0.95 * measured["base"]
    assert measured["adapted"] < 0.95 * measured["scratch"]

    before, after = load_checkpoint(base), load_checkpoint(adapted)
    assert after.tokenizer.model_bytes == before.tokenizer.model_bytes
    assert after.training["origin"]["base"] == before.digest
    assert before.digest in after.card


def test_a_model_of_another_shape_is_refused_with_the_settings_that_fit(
    base: Path, domain: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ("model.hidden_sizes=[32, 16]", "model.residual=true")
    arguments = train_arguments(domain, tmp_path / "m", "--init-from", str(base), sets=sets)
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert "has another shape than the settings ask for" in message
    assert "--set model.hidden_sizes=[16] model.residual=false" in message


def test_another_tokenizer_is_refused(
    base: Path, domain: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"other words of another vocabulary {n % 2}" for n in range(20)]
    Tokenizer.train(lines, vocab_size=290, model_type="bpe").save(tmp_path / "other.model")
    options = ["--init-from", str(base), "--tokenizer", str(tmp_path / "other.model")]
    assert main(train_arguments(domain, tmp_path / "m", *options)) == 1
    assert "is not the tokenizer of --init-from" in capsys.readouterr().err


def test_a_base_that_is_no_checkpoint_is_told(
    domain: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = train_arguments(domain, tmp_path / "m", "--init-from", str(tmp_path / "none"))
    assert main(arguments) == 1
    assert "no checkpoint at" in capsys.readouterr().err
