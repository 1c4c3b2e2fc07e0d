"""ESPnet's folders and files: ranks side by side, tensors and sub-word marks taken off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.asr.formats import FormatError
from tests.service.asr.formats.reading import read_one, write

ESPNET_1 = {
    "utts": {
        "utt-1": {
            "utt2spk": "sp-1",
            "output": [
                {"name": "target1[1]", "rec_text": "▁how▁are▁you<eos>", "score": -3.5},
                {"name": "target1[2]", "rec_text": "▁who▁are▁you<eos>", "score": "-4.25"},
            ],
        }
    }
}


def test_espnet2_folders(tmp_path: Path) -> None:
    write(tmp_path / "1best_recog" / "text", "u1 how are you\nu2\n")
    write(tmp_path / "1best_recog" / "score", "u1 tensor(-3.5)\nu2 tensor(-1., device='cuda:0')\n")
    write(tmp_path / "2best_recog" / "text", "u1 who are you\n")
    write(tmp_path / "2best_recog" / "score", "u1 -4.25\n")
    first, second = read_one(tmp_path, "espnet")
    assert [own.text for own in first.hypotheses] == ["how are you", "who are you"]
    assert [own.score for own in first.hypotheses] == [-3.5, -4.25]
    assert [own.score for own in second.hypotheses] == [-1.0]


def test_another_order_is_named(tmp_path: Path) -> None:
    write(tmp_path / "1best_recog" / "text", "u1 a\nu2 b\n")
    write(tmp_path / "2best_recog" / "text", "u2 a\nu1 b\n")
    with pytest.raises(FormatError, match="2best_recog/text, line 2: 'u1' is missing"):
        read_one(tmp_path, "espnet")


def test_espnet1_json(tmp_path: Path) -> None:
    (own,) = read_one(write(tmp_path / "data.json", json.dumps(ESPNET_1)), "espnet")
    assert [hypothesis.text for hypothesis in own.hypotheses] == ["how are you", "who are you"]
    assert [hypothesis.score for hypothesis in own.hypotheses] == [-3.5, -4.25]


def test_espnet1_without_utterances(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="has no member 'utts'"):
        read_one(write(tmp_path / "data.json", '{"a": 1}'), "espnet")


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"2best_recog/text": "u a\n"}, "the folder holds no 1best_recog"),
        (
            {"1best_recog/text": "u1 a\nu2 b\n", "1best_recog/score": "u2 -1\nu1 -2\n"},
            "score, line 1: has 'u2' where text has 'u1'",
        ),
        ({"1best_recog/text": "u1 a\n", "1best_recog/score": "u1 x\n"}, "the score is no finite"),
        (
            {"1best_recog/text": "u1 a\nu2\n", "1best_recog/score": "u1 1\n"},
            "score: has 'nothing' where text has 'u2'",
        ),
        (
            {"1best_recog/text": "u1 a\n", "1best_recog/score": "u1 1\nu2 1\n"},
            "score, line 2: 'u2' is not in text",
        ),
    ],
)
def test_names_the_file(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    for name, text in files.items():
        write(tmp_path / name, text)
    with pytest.raises(FormatError) as raised:
        read_one(tmp_path, "espnet")
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({}, "'u' has no list 'output'"),
        ({"output": [{"score": 1}]}, "no string 'rec_text'"),
        ({"output": [{"rec_text": "a", "text": 1}]}, "the reference 'text' is no string: 1"),
    ],
)
def test_names_the_utterance_of_a_file(tmp_path: Path, entry: object, fault: str) -> None:
    path = write(tmp_path / "data.json", json.dumps({"utts": {"u": entry}}))
    with pytest.raises(FormatError, match=fault):
        read_one(path, "espnet")


def test_the_reference_of_a_file_is_told(tmp_path: Path) -> None:
    output = [{"rec_text": "a", "text": "b"}]
    path = write(tmp_path / "data.json", json.dumps({"utts": {"u": {"output": output}}}))
    assert read_one(path, "espnet")[0].reference == "b"


def test_tabs_and_a_reference_that_is_null(tmp_path: Path) -> None:
    write(tmp_path / "1best_recog" / "text", "u1\ta \t b\n")
    write(tmp_path / "1best_recog" / "score", "u1\ttensor(-3.5)\n")
    (own,) = read_one(tmp_path, "espnet")
    assert (own.hypotheses[0].text, own.hypotheses[0].score) == ("a b", -3.5)
    output = [{"rec_text": "a", "text": None, "score": None}]
    path = write(tmp_path / "data.json", json.dumps({"utts": {"u": {"output": output}}}))
    (own,) = read_one(path, "espnet")
    assert (own.reference, own.hypotheses[0].score) == (None, None)
