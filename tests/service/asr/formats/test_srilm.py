"""SRILM's three forms: base 10 and bytelogs to natural, faults by line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from service.asr.formats import FormatError, open_writer
from service.asr.formats.conversions import from_bytelog
from service.asr.hypotheses import Hypothesis, NBestList
from tests.service.asr.formats.reading import read_one, write

LN10 = 2.302585092994046
SRILM_2 = (
    "NBestList2.0\n"
    "(-1200) hello ( st: 0.10 et: 0.52 g: -20 a: -700 ) hh ( st: 0.10 et: 0.20 g: 0 a: -300 ) "
    "ow ( st: 0.20 et: 0.52 g: 0 a: -400 ) there ( st: 0.52 et: 0.90 g: -35 a: -400 )\n"
)


def test_plain_is_log10(tmp_path: Path) -> None:
    write(tmp_path / "u2.gz", "-100.5 -7.25 3 how are you\n")
    write(tmp_path / "u1", "-90 -7 4 <s> how are you </s>\n")
    first, second = read_one(tmp_path, "srilm")
    assert (first.id, second.id) == ("u1", "u2")
    assert first.hypotheses[0].text == "how are you"
    own = second.hypotheses[0]
    assert own.score == pytest.approx(-100.5 * LN10)
    assert own.scores["lm"] == pytest.approx(-7.25 * LN10)


def test_decipher_1_is_a_composite_in_bytelogs(tmp_path: Path) -> None:
    path = write(tmp_path / "u.nbest", "NBestList1.0\n(-1000) how are you\n(-1001) who\n")
    (own,) = read_one(path, "srilm")
    assert own.id == "u"
    assert own.hypotheses[0].score == pytest.approx(-1000 * 1024 * math.log(1.0001), rel=1e-5)
    assert own.hypotheses[0].scores == {}


def test_decipher_2_skips_phones_and_splits_the_composite(tmp_path: Path) -> None:
    (own,) = read_one(write(tmp_path / "u", SRILM_2), "srilm")
    hypothesis = own.hypotheses[0]
    assert hypothesis.text == "hello there"
    assert hypothesis.scores["lm"] == pytest.approx(from_bytelog(-55))
    assert hypothesis.score == pytest.approx(from_bytelog(-1200 + 55))


def test_decipher_2_comes_back(tmp_path: Path) -> None:
    (own,) = read_one(write(tmp_path / "u", SRILM_2), "srilm")
    with open_writer(tmp_path / "out", "NBestList2.0") as writer:
        writer.write(own)
    (again,) = read_one(tmp_path / "out", "srilm")
    assert again == own


def test_a_list_of_files(tmp_path: Path) -> None:
    write(tmp_path / "b.score", "-1 -1 1 b\n")
    write(tmp_path / "a.score", "-1 -1 1 a\n")
    lists = read_one(write(tmp_path / "files.list", "b.score\na.score\n"), "srilm")
    assert [own.id for own in lists] == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("NBestList3.0\n(-1) a\n", "line 1: unknown form"),
        ("NBestList1.0\n-1 a\n", r"line 2: does not begin with '\(score\)'"),
        ("NBestList2.0\n(-1) a b\n", "line 2: has 2 fields, not 11"),
        ("NBestList2.0\n(-1) a ( st: 0 et: 1 g: 0 x: 0 )\n", "line 2: after 'a' comes no"),
        ("-1 -1 1 a\n-1 a\n", "line 2: has no 'ascore lscore nwords"),
        ("-1 nan 1 a\n", "line 1: lscore is no finite number"),
    ],
)
def test_names_the_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(FormatError, match=fault):
        read_one(write(tmp_path / "u", text), "srilm")


def test_the_second_form_needs_times(tmp_path: Path) -> None:
    own = NBestList(id="u", hypotheses=(Hypothesis(text="a", score=-1.0),))
    with (
        open_writer(tmp_path / "out", "NBestList2.0") as writer,
        pytest.raises(ValueError, match="needs the words' times"),
    ):
        writer.write(own)


def test_the_first_form_holds_the_sum_of_both_scores(tmp_path: Path) -> None:
    own = NBestList(id="u", hypotheses=(Hypothesis(text="a b", score=-3.0, scores={"lm": -2.0}),))
    with open_writer(tmp_path / "out", "NBestList1.0") as writer:
        writer.write(own)
    (again,) = read_one(tmp_path / "out", "srilm")
    assert again.hypotheses[0].text == "a b"
    assert again.hypotheses[0].score == pytest.approx(-5, abs=0.052)  # a bytelog


def test_how_many_words_a_list_says_there_are_is_kept(tmp_path: Path) -> None:
    (own,) = read_one(write(tmp_path / "u", "-1 -1 7 a b\n"), "srilm")
    with open_writer(tmp_path / "out", "srilm") as writer:
        writer.write(own)
    assert read_one(tmp_path / "out", "srilm")[0].hypotheses[0].extra == {"nwords": 7.0}


def test_marks_and_pauses_are_no_words(tmp_path: Path) -> None:
    (own,) = read_one(write(tmp_path / "u", "-1 -1 3 <s> -pau- a -pau- b </s>\n"), "srilm")
    assert own.hypotheses[0].text == "a b"


def test_a_first_line_behind_blank_ones(tmp_path: Path) -> None:
    (own,) = read_one(write(tmp_path / "u", "\n \nNBestList1.0\n(-100) a\n"), "srilm")
    assert own.hypotheses[0].text == "a"


@pytest.mark.parametrize("id", ["../u", "/data/u.wav", "a/b", "", ".", ".."])
def test_an_id_that_is_no_name_of_a_file_is_written_nowhere(tmp_path: Path, id: str) -> None:
    own = NBestList(id=id, hypotheses=(Hypothesis(text="a", score=-1.0),))
    with (
        pytest.raises(ValueError, match=r"the id .* cannot name a file: say --to jsonl"),
        open_writer(tmp_path / "out" / "lists", "srilm") as writer,
    ):
        writer.write(own)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "lists"]


def test_two_lists_of_one_id_do_not_overwrite_each_other(tmp_path: Path) -> None:
    own = NBestList(id="u", hypotheses=(Hypothesis(text="a", score=-1.0),))
    with open_writer(tmp_path, "srilm") as writer:
        writer.write(own)
        with pytest.raises(ValueError, match="two lists have the id 'u'"):
            writer.write(own)
