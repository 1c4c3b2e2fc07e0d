"""JSON lines: the service's form and the short names in the wild, faults by line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from service.asr.formats import FormatError
from service.asr.formats.jsonl import Writer, parse
from service.asr.hypotheses import Hypothesis, NBestList
from tests.service.asr.formats.reading import read_one, write


def test_short_names(tmp_path: Path) -> None:
    line = (
        '{"utt": "u1", "ref": "how are you", "hyps": [{"text": "who are you", "am": -10.5, '
        '"lm": -3.25, "n_words": 3, "score": -41.0}]}\n'
    )
    (own,) = read_one(write(tmp_path / "n.jsonl.gz", line), "jsonl")
    assert (own.id, own.reference) == ("u1", "how are you")
    hypothesis = own.hypotheses[0]
    assert (hypothesis.score, hypothesis.scores) == (-10.5, {"lm": -3.25})
    assert hypothesis.extra == {"n_words": 3, "first_pass": -41.0}


def test_the_service_s_form(tmp_path: Path) -> None:
    line = (
        '{"id": 7, "speaker": "s", "hypotheses": [{"text": "a b", "score": -1, '
        '"scores": {"ngram": -2.5}, "word_scores": {"old": [-1, -1, -0.5]}}]}\n\n'
        '{"hypotheses": []}'
    )
    first, second = read_one(write(tmp_path / "n.jsonl", line), "jsonl")
    assert (first.id, first.speaker, second.id, second.hypotheses) == ("7", "s", "3", ())
    assert first.hypotheses[0].word_scores == {"old": (-1, -1, -0.5)}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("{}", "has no 'hypotheses'"),
        ('{"hyps": {}}', "'hyps' is no list"),
        ('{"hyps": [{"am": 1}]}', "hyps.0: 'text' is no string"),
        ('{"hyps": [{"text": "a", "am": "x"}]}', "hyps.0: 'am' is no finite number: 'x'"),
        ('{"hyps": [{"text": "a", "lm": NaN}]}', "is no JSON: NaN is no finite number"),
        ('{"hyps": [{"text": "a", "lm": 1e999}]}', "'lm' is no finite number: inf"),
        ('{"channel": -Infinity, "hyps": []}', "is no JSON: -Infinity is no finite number"),
        ('{"hyps": [{"text": "a", "scores": [1]}]}', "'scores' is no JSON object"),
        ('{"hyps": [{"text": "a", "scores": []}]}', "'scores' is no JSON object"),
        ('{"hyps": [{"text": "a", "word_scores": {"o": 1}}]}', "'word_scores.o' is no list"),
        ('{"hyps": [{"text": "a", "lm": -1, "scores": {"lm": -2}}]}', "are not the same number"),
        ('{"hyps": null}', "has no 'hypotheses'"),
        ('{"id": [1], "hyps": []}', "'id' is no string"),
        ('{"speaker": true, "hyps": []}', "'speaker' is no string"),
    ],
)
def test_names_the_line(tmp_path: Path, line: str, fault: str) -> None:
    path = write(tmp_path / "n.jsonl", '{"hyps": []}\n' + line + "\n")
    with pytest.raises(FormatError, match="n.jsonl, line 2: .*" + fault.replace(".", r"\.")):
        read_one(path, "jsonl")


def test_what_nobody_knows_comes_back_where_it_stood() -> None:
    entry = {
        "id": "u",
        "reference": "a",
        "speaker": "s",
        "channel": 1,
        "hypotheses": [{"text": "a b", "score": -1.0, "scores": {"lm": -2.0}, "note": [1, None]}],
    }
    file = io.StringIO()
    Writer(file).write(parse(entry, default_id="9"))
    assert json.loads(file.getvalue()) == entry


def test_what_is_missing_is_not_written() -> None:
    file = io.StringIO()
    Writer(file).write(NBestList(id="é", hypotheses=(Hypothesis(text="猫"),)))
    assert file.getvalue() == '{"id": "é", "hypotheses": [{"text": "猫"}]}\n'


@pytest.mark.parametrize("value", [True, float("inf"), "1"])
def test_a_score_is_a_finite_number(value: object) -> None:
    entry = {"hyps": [{"text": "a", "word_scores": {"old": [-1, value]}}]}
    with pytest.raises(ValueError, match=r"hyps\.0: 'word_scores\.old' is no finite number"):
        parse(entry, default_id="1")


def test_null_is_as_if_it_were_absent() -> None:
    of_text = {"text": "a", "score": None, "lm": None, "scores": None, "word_scores": None}
    entry = {"id": None, "reference": None, "speaker": None, "hyps": [of_text]}
    own = parse(entry, default_id="7")
    assert own == NBestList(id="7", hypotheses=(Hypothesis(text="a"),))
    file = io.StringIO()
    Writer(file).write(own)
    assert json.loads(file.getvalue()) == {"id": "7", "hypotheses": [{"text": "a"}]}
