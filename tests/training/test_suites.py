import json
from pathlib import Path

import pytest

from models.checkpoint import save_checkpoint
from tests.training.small_checkpoints import random_checkpoint
from training.__main__ import main
from training.corpus import CorpusError
from training.evaluate import model_of
from training.suites import blimp

PAIRS = [("some words", "words some"), ("the river", "river the"), ("of the", "the of the")]


def pairs_file(path: Path, uid: str | None) -> Path:
    named = {} if uid is None else {"UID": uid}
    lines = [json.dumps({"sentence_good": g, "sentence_bad": b} | named) for g, b in PAIRS]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_pair_counts_where_the_good_sentence_is_more_probable(tmp_path: Path) -> None:
    checkpoint = random_checkpoint()
    model, tokenizer = model_of(checkpoint), checkpoint.tokenizer

    def logprob(text: str) -> float:
        return sum(model.score([tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id]))

    right = sum(logprob(good) > logprob(bad) for good, bad in PAIRS)
    files = [pairs_file(tmp_path / "a.jsonl", "agreement"), pairs_file(tmp_path / "b.jsonl", None)]
    found = blimp(checkpoint, files)
    assert set(found) == {"agreement", "b", "all"}
    assert (found["agreement"].right, found["agreement"].pairs) == (right, 3)
    assert (found["all"].right, found["all"].pairs) == (2 * right, 6)


def test_the_command_prints_accuracies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(random_checkpoint(), tmp_path / "m")
    path = pairs_file(tmp_path / "a.jsonl", "agreement")
    command = ["evaluate", "--model", str(tmp_path / "m"), "--suite", "blimp", "--text", str(path)]
    assert main(command) == 0
    assert "% of 3 pairs" in capsys.readouterr().out
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["blimp"]["all"]["pairs"] == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [("{}", "line 1: needs strings 'sentence_good'"), ("{", "line 1: not JSON"), ("", "no pairs")],
)
def test_other_files_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(CorpusError, match=message):
        blimp(random_checkpoint(), [tmp_path / "p.jsonl"])
