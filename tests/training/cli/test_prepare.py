"""The command: what it tells, what it writes, what it needs."""

from pathlib import Path

import pytest

from training.__main__ import main
from training.corpus import parse_source, read_source


def test_the_command_tells_and_writes_both_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("".join(f"line number {n % 90}\n" for n in range(100)))
    command = ["prepare", "--corpus", f"{tmp_path / 't.txt'}@lines", "--dedupe"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "90 documents" in said
    assert "10 duplicates" in said
    assert "begins: 'line number 0'" in said
    parts = [
        read_source(parse_source(str(tmp_path / "out" / f"{n}.jsonl"))) for n in ("train", "valid")
    ]
    found = [document.text for part in parts for document in part]
    assert sorted(found) == sorted({f"line number {n}" for n in range(90)})


def test_a_recipe_needs_its_corpora_and_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--recipe", "english"]) == 1
    assert "--recipe needs --data" in capsys.readouterr().err
