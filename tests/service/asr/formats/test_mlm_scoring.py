"""mlm-scoring's object: member by member, hypotheses by their numbers, faults by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.asr.formats import FormatError, open_writer
from service.asr.hypotheses import Hypothesis, NBestList
from tests.service.asr.formats.reading import read_one, write

MLM = {
    "utt-1": {
        "ref": "how are you",
        "hyp_1": {"score": -7.25, "text": "how are you"},
        "hyp_2": {"score": -7.5, "text": "who are you"},
        "hyp_10": {"score": -9.0, "text": "who were you"},
    },
    "utt-2": {"ref": "fine"},
}


@pytest.mark.parametrize("indent", [None, 2])
def test_reads(tmp_path: Path, indent: int | None) -> None:
    path = write(tmp_path / "hyps.json", json.dumps(MLM, indent=indent))
    first, second = read_one(path, "mlm-scoring")
    assert [own.score for own in first.hypotheses] == [-7.25, -7.5, -9.0]
    assert (first.reference, second.id, second.hypotheses) == ("how are you", "utt-2", ())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{\n"u": {"hyp_1": {"score": 1}}}', "line 2: 'u': hypotheses.0: 'text' is no string"),
        ('{\n\n"u": 5}', "line 3: 'u': is no JSON object"),
        ('{"u": {"hyp1": {}}}', "'hyp1' is neither 'ref' nor 'hyp_N'"),
        ('{"a": {},\n"u": {]}', "line 2: is no JSON"),
        ('{"a": {}', "line 1: has its end where '}' should be"),
    ],
)
def test_names_the_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(FormatError) as raised:
        read_one(write(tmp_path / "hyps.json", text), "mlm-scoring")
    assert fault in str(raised.value)


def test_no_lists_are_an_empty_object_and_totals_are_the_scores(tmp_path: Path) -> None:
    with open_writer(tmp_path / "none.json", "mlm-scoring"):
        pass
    assert json.loads((tmp_path / "none.json").read_text()) == {}
    own = NBestList(
        id='u"1', reference="a", hypotheses=(Hypothesis(text="b", score=-2, extra={"total": -1}),)
    )
    with open_writer(tmp_path / "one.json", "mlm-scoring") as writer:
        writer.write(own)
    assert json.loads((tmp_path / "one.json").read_text()) == {
        'u"1': {"ref": "a", "hyp_1": {"score": -1, "text": "b"}}
    }
