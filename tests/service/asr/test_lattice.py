"""Lattices: N-best against every path, and both file formats."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.asr.formats import FormatError, ReadOptions, read_lattices, read_lists
from service.asr.formats.htk_lattice import read_lattice, write_lattice
from service.asr.formats.kaldi_lattice import Writer as KaldiWriter
from service.asr.lattice import (
    Final,
    Lattice,
    Link,
    PathWeights,
    build_lattice,
    nbest,
)
from tests.service.asr.small_lattices import all_paths, lattices

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
KALDI = """utt-1
0 1 hello 1.5,100,2_4_4
0 2 hollow 2.5,99,2_4
1 3 <eps> 0,1,
2 3 there 3,50,8
3 0.25,5,

utt-2
0 1 4 17 1.5,10
1
"""


@given(lattice=lattices(), lm=st.sampled_from([0.0, 1.0, 9.5]), bonus=st.sampled_from([-2.0, 0.5]))
@settings(deadline=None)
def test_nbest_is_every_path_s_best(lattice: Lattice, lm: float, bonus: float) -> None:
    expected: dict[str, float] = {}
    for words, acoustic, own in all_paths(lattice):
        total = acoustic + lm * own + bonus * len(words)
        text = " ".join(words)
        expected[text] = max(expected.get(text, float("-inf")), total)
    found = nbest(lattice, 10_000, PathWeights(lm, length_bonus=bonus)).hypotheses
    totals = [(h.score or 0) + lm * h.scores["lm"] + bonus * len(h.words) for h in found]
    assert {h.text: pytest.approx(t) for h, t in zip(found, totals, strict=True)} == expected
    assert totals == sorted(totals, reverse=True)
    few = nbest(lattice, 3, PathWeights(lm, length_bonus=bonus)).hypotheses
    assert few == found[:3]


@given(lattice=lattices())
@settings(deadline=None)
def test_both_formats_come_back(lattice: Lattice, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("lattices")
    with (folder / "u.slf").open("w") as file:
        write_lattice(lattice, file)
    with (folder / "ark").open("w") as file:
        KaldiWriter(file).write(lattice)
    (kaldi,) = read_lattices(folder / "ark", "kaldi-lattice")
    for again in (read_lattice(folder / "u.slf"), kaldi):
        before, after = sorted(all_paths(lattice)), sorted(all_paths(again))
        assert [words for words, *_ in before] == [words for words, *_ in after]
        assert [own[1:] for own in after] == [pytest.approx(own[1:]) for own in before]


def test_slf_as_in_the_wild(tmp_path: Path) -> None:
    (tmp_path / "u1.lat").write_text(SLF)
    (own,) = read_lists(tmp_path, "htk-lattice", ReadOptions(path_weights=PathWeights(9.5)))
    assert own.id == "u1"
    assert [h.text for h in own.hypotheses] == ['hello there"s', "hello", 'hollow there"s']
    best = own.hypotheses[0]
    assert best.score == pytest.approx((-100.0 - 0.5 - 50 - 5) * 2.302585092994046)
    assert best.scores["lm"] == pytest.approx(-2.75 * 2.302585092994046)


def test_kaldi_as_in_the_wild(tmp_path: Path) -> None:
    path, symbols = tmp_path / "lat.txt", tmp_path / "words.txt"
    path.write_text(KALDI)
    symbols.write_text("<eps> 0\nfine 17\nhello 1\nhollow 2\nthere 3\n")
    first, second = read_lists(path, "kaldi-lattice", ReadOptions())
    assert [h.text for h in first.hypotheses] == ["hello", "hollow there"]
    assert (first.hypotheses[0].score, first.hypotheses[0].scores) == (-106, {"lm": -1.75})
    assert [h.text for h in second.hypotheses] == ["17"]
    path.write_text(KALDI.split("\n\n")[1])
    (own,) = read_lists(path, "kaldi-lattice", ReadOptions(symbols=symbols))
    assert [h.text for h in own.hypotheses] == ["fine"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("VERSION=1.0\nhello\n", "line 2: has no NAME=VALUE"),
        ("N=1 L=0\n", "says N=1 and has 0"),
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
    ("text", "fault"),
    [
        ("u 1\n0 1 a 1,2\n", "line 1: is no utterance id"),
        ("u\n0 x a 1,2\n", "line 2: 'x' is no number of a node"),
        ("u\n0 1 a 1,b\n", "line 2: a cost is no finite number"),
        ("u\n0 1 2 3 4 5\n", "line 2: has 6 fields"),
        ("\nu\n0 1 a 1,2\n1 0 a 1,2\n1\n", "line 2: the lattice has a cycle"),
    ],
)
def test_kaldi_names_the_line(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "lat").write_text(text)
    with pytest.raises(FormatError, match=fault):
        list(read_lattices(tmp_path / "lat", "kaldi-lattice"))


def test_a_lattice_without_a_whole_path_has_no_hypothesis() -> None:
    lattice = build_lattice(id="u", start=0, finals={2: Final()}, links=[Link(0, 1, "a", 0, 0)])
    assert nbest(lattice, 10, PathWeights()).hypotheses == ()
    write_lattice(lattice, io.StringIO())
