"""Kaldi's lattices as text, compact or not, faults by line, and the mixture that is written."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from service.asr.formats import FormatError, ReadOptions, read_lattices, read_lists
from service.asr.formats.kaldi_lattice import Writer, read_symbols
from service.asr.lattice import Final, Link, build_lattice

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


@pytest.mark.parametrize(
    ("share", "costs"), [(0.0, ("2.0", "4.0")), (0.25, ("2.5", "3.25")), (1.0, ("4.0", "1.0"))]
)
def test_the_graph_cost_is_the_mixture_that_was_asked_for(
    share: float, costs: tuple[str, str]
) -> None:
    lattice = build_lattice(
        id="u",
        start=0,
        finals={1: Final(-0.5, -4.0, -1.0)},
        links=[Link(0, 1, "a", -1.5, -2.0, -4.0)],
    )
    file = io.StringIO()
    Writer(file, share).write(lattice)
    assert file.getvalue() == f"u\n0 1 a {costs[0]},1.5,\n1 {costs[1]},0.5,\n\n"


def test_the_starts_links_come_first(tmp_path: Path) -> None:
    """A reader takes the first node that it meets for the start."""
    path = tmp_path / "lat"
    path.write_text("u\n5 2 b 0,1\n2 7 a 0,1\n7\n")
    (lattice,) = read_lattices(path, "kaldi-lattice")
    file = io.StringIO()
    Writer(file).write(lattice)
    assert file.getvalue().splitlines()[1].split()[0] == str(lattice.start)
    path.write_text(file.getvalue())
    (again,) = read_lattices(path, "kaldi-lattice")
    assert [own.word for own in again.links] == ["b", "a"]


def test_symbols_that_are_none_and_words_that_are_missing_are_named(tmp_path: Path) -> None:
    symbols, path = tmp_path / "words.txt", tmp_path / "lat"
    symbols.write_text("<eps> 0\nhello\n")
    with pytest.raises(FormatError, match=r"words\.txt, line 2: is no 'word number'"):
        read_symbols(symbols)
    symbols.write_text("<eps> 0\nhello 1\n")
    path.write_text("u\n0 1 9 1,2\n1\n")
    with pytest.raises(FormatError, match="line 2: '9' is not among the symbols"):
        list(read_lattices(path, "kaldi-lattice", ReadOptions(symbols=symbols)))


def test_numbers_for_words_ask_for_symbols(tmp_path: Path) -> None:
    """A model would score the digits and nobody would know; one who says numbers can say so."""
    symbols, path = tmp_path / "words.txt", tmp_path / "lat"
    path.write_text("silent\n0 1 0 1,2\n1\n\nu\n0 1 9 1,2\n1 2 17 1,2\n2\n")
    with pytest.raises(FormatError, match="line 5: holds numbers for words: give --symbols"):
        list(read_lattices(path, "kaldi-lattice"))
    symbols.write_text("<eps> 0\n9 9\n17 17\n")
    _, own = read_lists(path, "kaldi-lattice", ReadOptions(symbols=symbols))
    assert [h.text for h in own.hypotheses] == ["9 17"]
    path.write_text("u\n0 1 gate 1,2\n1 2 17 1,2\n2\n\nv\n0 1 9 1,2\n1\n")
    assert [own.id for own in read_lattices(path, "kaldi-lattice")] == ["u", "v"]
