from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.harness import SHIPPED
from service.__main__ import main
from service.language_model import LanguageModel

LINES = ["the cat sat", "", "{not json", "It rained."]


def run(*arguments: str, stdin: str = "") -> str:
    result = CliRunner().invoke(main, ["score", *arguments], input=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_line_is_a_text_and_an_object_keeps_its_fields() -> None:
    stdin = "\n".join(LINES) + '\n{"id": 7, "text": "the dog"}\n'
    answers = [json.loads(line) for line in run(stdin=stdin).splitlines()]
    with LanguageModel.load(SHIPPED) as model:
        scores = model.score([*LINES, "the dog"])
    assert [answer["logprob"] for answer in answers] == [score.logprob for score in scores]
    assert [answer["text"] for answer in answers] == [*LINES, "the dog"]
    assert answers[-1]["id"] == 7


def test_more_texts_than_one_request_come_back_in_order(tmp_path: Path) -> None:
    texts = [f"number {number}" for number in range(600)]
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts))
    answers = [json.loads(line) for line in run(str(file)).splitlines()]
    assert [answer["text"] for answer in answers] == texts


def test_a_table_has_the_surprisal_of_each_word() -> None:
    head, *rows = run("--detail", "words", "--format", "tsv", stdin="the cat\tsat\n").splitlines()
    assert head.split("\t") == [
        "text", "index", "word", "start", "end", "logprob", "surprisal_bits",
    ]  # fmt: skip
    cells = [row.split("\t") for row in rows]
    assert [cell[2] for cell in cells] == ["the", "cat", "sat", "</s>"]
    with LanguageModel.load(SHIPPED) as model:
        words = model.scores(["the cat\tsat"], detail="words")[0].words
    assert words is not None
    for cell, word in zip(cells, words, strict=True):
        assert float(cell[5]) == pytest.approx(word.logprob, abs=1e-6)
        assert float(cell[6]) == pytest.approx(-word.logprob / math.log(2), abs=1e-6)


def test_a_table_for_studies_of_reading() -> None:
    arguments = ("--detail", "words", "--format", "tsv", "--word-ends", "own")
    _, *rows = run(*arguments, stdin="the cat sat\n\nIt rained.\n").splitlines()
    with LanguageModel.load(SHIPPED) as model:
        words = [(0, word) for word in model.surprisals("the cat sat")]
        words += [(2, word) for word in model.surprisals("It rained.")]
    for row, (number, word) in zip(rows, words, strict=True):
        cells = row.split("\t")
        assert (int(cells[0]), cells[2]) == (number, word.word)
        assert float(cells[5]) == pytest.approx(word.logprob, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["--format", "tsv"], "", "say --detail words"),
        (["--word-ends", "own"], "", "needs --format tsv"),
        (["--model", "en-smal"], "", "did you mean 'en-small'"),
        ([], '{"txt": "a"}\n', "standard input, line 1: the JSON object has no string"),
        ([], 'a\n{"text": "\\ud83d"}\n', "line 2: has a string that is no Unicode text"),
        ([], '{"text": "a", "x": NaN}\n', "line 1: is no JSON: NaN is no finite number"),
        (["no-such-file"], "", "no-such-file"),
    ],
)
def test_faults_are_told(arguments: list[str], stdin: str, message: str) -> None:
    result = CliRunner().invoke(main, ["score", *arguments], input=stdin)
    assert result.exit_code != 0
    assert message in result.output


def test_a_file_in_another_encoding_is_refused_by_name_and_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes("\ufeffthe cat\r\n{ a brace\r\n".encode())
    bad.write_bytes(b"the cat\n\nsat \xe0 la carte\n")
    result = CliRunner().invoke(main, ["score", str(good), str(bad)])
    assert result.exit_code == 1
    assert f"{bad}, line 3: is not readable text: byte 0xe0 is no UTF-8" in result.stderr
    texts = [json.loads(line)["text"] for line in run(str(good)).splitlines()]
    assert texts == ["the cat", "{ a brace"]
