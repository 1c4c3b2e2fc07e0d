"""Which texts an n-gram is counted on, and the file that is written."""

import json
from pathlib import Path

import pytest

from training.__main__ import main
from training.cli.ngram import sentences
from training.corpus import parse_source


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    turns = [
        {"role": "user", "content": "how are you"},
        {"role": "assistant", "content": "fine\n\nso so"},
    ]
    (tmp_path / "d.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    return tmp_path / "d.jsonl"


def test_lines_and_turns_are_sentences(talk: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b\n\nc\n")
    sources = [parse_source(str(tmp_path / "t.txt")), parse_source(str(talk))]
    assert list(sentences(sources)) == [
        ["a", "b"], ["c"], ["how", "are", "you"], ["fine"], ["so", "so"],
    ]  # fmt: skip
    assert list(sentences(sources[1:], "assistant")) == [["fine"], ["so", "so"]]


def test_the_file_is_an_arpa_of_the_order(
    talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lm.arpa"
    assert main(["ngram", "--corpus", str(talk), "--out", str(out), "--order", "2"]) == 0
    assert "n-grams of order 1 to 2" in capsys.readouterr().out
    lines = out.read_text().splitlines()
    assert "\\1-grams:" in lines
    assert "\\2-grams:" in lines
    assert "\\3-grams:" not in lines
    assert lines[-1] == "\\end\\"
