"""Kaldi's N-best folder: costs turned around, files side by side, faults by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.asr.formats import FormatError, open_writer
from service.asr.hypotheses import Hypothesis, NBestList
from tests.service.asr.formats.reading import read_one, write

KALDI = {
    "words_text": "sp-1-utt-1-1 how are you\nsp-1-utt-1-2 who are you\nsp-1-utt-2-1\n",
    "acwt": "sp-1-utt-1-1 812.5\nsp-1-utt-1-2 810.25\nsp-1-utt-2-1 12\n",
    "lmwt.nolm": "sp-1-utt-1-1 3.5\nsp-1-utt-1-2 3.25\nsp-1-utt-2-1 0.5\n",
    "lmwt.lmonly": "sp-1-utt-1-1 9.5\nsp-1-utt-1-2 11\nsp-1-utt-2-1 2\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in KALDI.items():
        write(tmp_path / name, text)
    return tmp_path


def test_costs_are_turned_around(folder: Path) -> None:
    first, second = read_one(folder, "kaldi")
    assert (first.id, second.id) == ("sp-1-utt-1", "sp-1-utt-2")
    assert first.hypotheses[1] == Hypothesis(
        text="who are you", score=-810.25, scores={"graph": -3.25, "lm": -11}
    )
    assert second.hypotheses[0].text == ""


def test_a_missing_file_is_a_missing_score(folder: Path) -> None:
    (folder / "acwt").unlink()
    assert read_one(folder, "kaldi")[0].hypotheses[0].score is None


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("words_text", "noid a b\n", "words_text, line 1: 'noid' does not end in -RANK"),
        ("acwt", "sp-1-utt-1-2 1\n", "acwt, line 1: has 'sp-1-utt-1-2' where words_text has"),
        ("acwt", "sp-1-utt-1-1 x\n", "acwt, line 1: the cost is no finite number: 'x'"),
        ("acwt", KALDI["acwt"] + "u-3 1\n", "acwt, line 4: 'u-3' is not in words_text"),
        ("lmwt.nolm", "sp-1-utt-1-1 1\n", "has 'nothing' where words_text has"),
    ],
)
def test_names_the_line(folder: Path, name: str, text: str, fault: str) -> None:
    write(folder / name, text)
    with pytest.raises(FormatError) as raised:
        read_one(folder, "kaldi")
    assert fault in str(raised.value)


def test_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    lists = read_one(folder, "kaldi")
    with open_writer(tmp_path / "out", "kaldi") as writer:
        for own in lists:
            writer.write(own)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(KALDI)
    for name, text in KALDI.items():
        assert (tmp_path / "out" / name).read_text().replace(".0\n", "\n") == text


def test_one_file_of_words_is_lists_without_scores(tmp_path: Path) -> None:
    (own,) = read_one(write(tmp_path / "words", "u-1 a  b\nu-2\n"), "kaldi")
    assert [h.text for h in own.hypotheses] == ["a b", ""]
    assert own.hypotheses[0].score is None


def test_the_served_models_cost_has_a_file_of_its_own(tmp_path: Path) -> None:
    own = NBestList(id="u", hypotheses=(Hypothesis(text="a", score=-1.5, scores={"rnn": -2.5}),))
    with open_writer(tmp_path / "out", "kaldi") as writer:
        writer.write(own)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "acwt", "lmwt.rnn", "words_text",
    ]  # fmt: skip
    assert (tmp_path / "out" / "lmwt.rnn").read_text() == "u-1 2.5\n"
    assert read_one(tmp_path / "out", "kaldi") == [own]


def test_text_is_the_best_of_each(tmp_path: Path) -> None:
    lists = (
        NBestList(id="u1", hypotheses=(Hypothesis(text="a b"), Hypothesis(text="c"))),
        NBestList(id="u2", hypotheses=()),
    )
    with open_writer(tmp_path / "best", "text") as writer:
        for own in lists:
            writer.write(own)
    assert (tmp_path / "best").read_text() == "u1 a b\nu2\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("u-1 a\nv-1 b\nu-2 c\n", "line 3: 'u-2' is the first of its list, which must stand toge"),
        ("u-1 a\nu-2 b\nu-1 a\n", "line 3: 'u-1' occurs twice"),
        ("-1 a\n", "line 1: '-1' does not end in -RANK"),
        ("u-² a\n", "line 1: 'u-²' does not end in -RANK"),
        ("u-99999999999999999999 a\n", "does not end in -RANK"),
    ],
)
def test_a_list_whose_lines_do_not_stand_together_is_refused(
    tmp_path: Path, text: str, fault: str
) -> None:
    with pytest.raises(FormatError, match=fault):
        read_one(write(tmp_path / "words", text), "kaldi")


def test_sorted_as_text_and_ranks_from_0_are_fine(tmp_path: Path) -> None:
    text = "u-1 a\nu-10 b\nu-2 c\nv-0 d\nv-1 e\n"
    found = read_one(write(tmp_path / "words", text), "kaldi")
    assert [[h.text for h in own.hypotheses] for own in found] == [["a", "b", "c"], ["d", "e"]]


def test_tabs_between_key_and_cost(folder: Path) -> None:
    expected = read_one(folder, "kaldi")
    for name, text in KALDI.items():
        write(folder / name, text.replace(" ", " \t"))
    assert read_one(folder, "kaldi") == expected


@pytest.mark.parametrize("output", ["text", "kaldi", "espnet"])
@pytest.mark.parametrize("id", ["a b", "", " a", "a\nb"])
def test_an_id_that_is_not_one_word_is_not_written(tmp_path: Path, output: str, id: str) -> None:
    own = NBestList(id=id, hypotheses=(Hypothesis(text="a"),))
    with (
        pytest.raises(ValueError, match=r"the id .* is not one word: say --to jsonl"),
        open_writer(tmp_path / "out", output) as writer,
    ):
        writer.write(own)


@pytest.mark.parametrize("output", ["text", "kaldi", "espnet", "srilm", "nemo"])
def test_a_text_of_several_lines_is_written_as_one(tmp_path: Path, output: str) -> None:
    own = NBestList(id="u", hypotheses=(Hypothesis(text=" a\nb\tc ", score=-1.0),))
    with open_writer(tmp_path / "out", output) as writer:
        writer.write(own)
    form = "kaldi" if output == "text" else output
    if output == "text":
        assert (tmp_path / "out").read_text() == "u a b c\n"
    else:
        (again,) = read_one(tmp_path / "out", form, beam_size=1)
        assert again.hypotheses[0].text == "a b c"
