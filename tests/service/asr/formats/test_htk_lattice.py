"""HTK's standard lattice format: as written in the wild, and back, faults by line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from service.asr.formats import FormatError, ReadOptions, read_lists
from service.asr.formats.htk_lattice import Writer, read, read_lattice, spoken
from service.asr.lattice import Final, Lattice, Link, PathWeights, build_lattice

SLF = r"""# as HTK's HVite and others write it
VERSION=1.0
UTTERANCE=u1
lmname=bigram
base=10
lmscale=9.50  wdpenalty=-2.0
N=5  L=6
I=0    t=0.00  W=!NULL
I=1    t=0.30  W=hello  v=1
I=2    t=0.30  W=hollow
I=3    t=0.80  W="there\"s"
I=4    t=0.90  W=</s>
J=0    S=0    E=1    a=-100.0  l=-1.5  r=-0.5
J=1    S=0    E=2    a=-99.0   l=-2.5
J=2    S=1    E=3    a=-50.0   l=-1.0
J=3    S=2    E=3    a=-50.0   l=-3.0
J=4    S=3    E=4    a=-5.0    l=-0.25
J=5    S=1    E=4    a=-60.0   l=-2.0
"""


def test_slf_as_in_the_wild(tmp_path: Path) -> None:
    (tmp_path / "u1.lat").write_text(SLF)
    (own,) = read_lists(tmp_path, "htk-lattice", ReadOptions(path_weights=PathWeights(9.5)))
    assert own.id == "u1"
    assert [h.text for h in own.hypotheses] == ['hello there"s', "hello", 'hollow there"s']
    best = own.hypotheses[0]
    assert best.score == pytest.approx((-100.0 - 0.5 - 50 - 5) * 2.302585092994046)
    assert best.scores["lm"] == pytest.approx(-2.75 * 2.302585092994046)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("VERSION=1.0\nhello\n", "line 2: has no NAME=VALUE"),
        ("N=1 L=0\n", "line 1: says N=1 and has 0"),
        ("I=0\nI=0\n", "line 2: the node I=0 occurs twice; a file holds one lattice"),
        ("I=0 t=x\n", "line 1: t is no finite number"),
        ("I=0\nI=1\nJ=0 S=0 E=1 W=a what a=1\n", "line 3: has no NAME=VALUE: 'what'"),
        ("\nstart=z\nI=0\nI=1\nJ=0 S=0 E=1\n", "line 2: 'z' is no number of a node"),
        ("I=0\nend=2\nI=1\nJ=0 S=0 E=1\n", "line 2: there is no node I=2"),
        ("I=0\nI=1\n\nbase=e\nJ=0 S=0 E=1\n", "line 4: base is no finite number: 'e'"),
        ("I=99999999999999999999\n", "line 1: '99999999999999999999' is no number of a node"),
        ("I=0\nI=1\nJ=0 S=0 E=7 W=a\n", "line 3: there is no node I=7"),
        ("I=0\nI=1\nJ=0 S=0 E=1 W=a a=x\n", "line 3: a is no finite number"),
        ("I=0\nI=1\nI=2\nJ=0 S=0 E=1\n", "has 2 nodes that could be its start"),
        ("base=0\nI=0\nI=1\nJ=0 S=0 E=1\n", "base=0 gives no logarithms"),
        (
            "start=0 end=3\nI=0\nI=1\nI=2\nI=3\n"
            "J=0 S=0 E=1\nJ=1 S=1 E=2\nJ=2 S=2 E=1\nJ=3 S=2 E=3\n",
            "has a cycle",
        ),
    ],
)
def test_slf_names_the_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "u.slf").write_text(text)
    with pytest.raises(FormatError, match=fault):
        read_lattice(tmp_path / "u.slf")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("read(2)", "read"),
        ("(2)", ""),
        ("!NULL", ""),
        ("</s>", ""),
        ("[noise]", ""),
        ("++um++", ""),
        ("-pau-", ""),
        ("!SIL", ""),
        ("<SIL>", ""),
        ("sil", "sil"),
        ("#0", ""),
        ("a(b)", "a(b)"),
    ],
)
def test_what_is_said(word: str, said: str) -> None:
    assert spoken(word) == said


ODD = build_lattice(
    id="u 1",
    start=0,
    finals={2: Final(-0.5, -0.25), 1: Final()},
    links=[
        Link(0, 1, 'a "b" =\\', -1.5, -2.5, -3.5),
        Link(1, 2, "", -1.0, 0.0),
        Link(0, 2, "it's", -9.0, -1 / 3),
    ],
    times={0: 0.0, 2: 1.25},
)


def paths(lattice: Lattice) -> list[tuple[object, ...]]:
    """What its links and ends say, whatever their numbers."""
    links = [(own.word, own.acoustic, own.lm, own.model) for own in lattice.links]
    return sorted(links, key=str)


def test_words_of_any_characters_scores_and_times_come_back(tmp_path: Path) -> None:
    Writer(tmp_path).write(ODD)
    (path,) = tmp_path.iterdir()
    assert path.name == "u 1.lat.gz"
    (again,) = read(tmp_path)
    ends = [("", own.acoustic, own.lm, own.model) for own in ODD.finals.values()]
    assert again.id == "u 1"
    assert paths(again) == sorted([*paths(ODD), *ends], key=str)
    assert sorted(again.times.values()) == [0.0, 1.25]
    assert b"x1=" in gzip.decompress(path.read_bytes())


def test_a_file_of_no_utterance_is_called_as_itself(tmp_path: Path) -> None:
    (tmp_path / "u9.slf").write_text("I=0\nI=1\nJ=0 S=0 E=1 W=a\n")
    assert read_lattice(tmp_path / "u9.slf").id == "u9"


def test_an_id_with_a_slash_is_written_nowhere(tmp_path: Path) -> None:
    lattice = build_lattice(id="../u", start=0, finals={0: Final()}, links=[])
    with pytest.raises(ValueError, match="cannot name a file"):
        Writer(tmp_path / "out").write(lattice)
    assert list(tmp_path.rglob("*.gz")) == []
