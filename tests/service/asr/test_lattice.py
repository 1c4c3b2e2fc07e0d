"""Lattices: N-best against every path, and both file formats."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.asr.formats import read_lattices
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


def test_a_lattice_without_a_whole_path_has_no_hypothesis() -> None:
    lattice = build_lattice(id="u", start=0, finals={2: Final()}, links=[Link(0, 1, "a", 0, 0)])
    assert nbest(lattice, 10, PathWeights()).hypotheses == ()
    write_lattice(lattice, io.StringIO())
